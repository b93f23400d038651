package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"keyway/internal/bearer"
	"keyway/internal/config"
	"keyway/internal/dpop"
	"keyway/internal/gateway"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
	"keyway/internal/oidc"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/session/embedded"
	"keyway/internal/session/redis"
	"keyway/internal/telemetry"
	"keyway/internal/telemetry/otlp"
	"keyway/internal/upstream"
)

// resources are what lives as long as the process, whatever keys come and go.
type resources struct {
	log         *slog.Logger
	metrics     *telemetry.Metrics
	traces      *otlp.Traces // nil: nobody collects them
	meter       *seal.Meter
	store       session.Store
	sessions    *session.Shared
	lost        lostVersions
	keys        *keystore.Store
	provider    *oidc.Provider            // nil: no IdP is configured
	peers       map[string]*oidc.Provider // provider, and those of idps.yaml at which we have a client
	revoker     *oidc.Revoker             // has the provider forget tokens of ended sessions
	nonces      *dpop.Nonces              // that servers have set for our proofs
	presented   *bearer.Cache             // what is known of presented tokens
	fetched     fetches
	tally       func(secret, version, who string)              // a refusal of something
	newer       func(context.Context, peerClient) *oidc.Client // with credentials that have come since
	folderAt    atomic.Int64                                   // when the folder of keys was last changed, as far as it was read
	tokens      *upstream.ServiceTokens
	proxy       *upstream.Proxy
	authorizing *authorizing   // nil: there is no decision point
	close       []func() error // in the order of opening

	graceEnds time.Time // set by a graceful stop
}

// Close gives everything back, last opened first.
func (r *resources) Close() error {
	var all []error
	for _, c := range slices.Backward(r.close) {
		all = append(all, c())
	}
	r.close = nil
	return errors.Join(all...)
}

// storeWait is how long a start waits for a store that is away. Replicas and
// their Redis are often started together.
const storeWait = 30 * time.Second

// openStore opens where sessions are kept; board is nil unless others share it.
func (r *resources) openStore(ctx context.Context, c *config.Config, waiting func()) (board *redis.Board, err error) {
	if c.Store.RedisURL.IsZero() {
		store, err := embedded.Open(c.Store.DataDir)
		if err != nil {
			return nil, err
		}
		r.use(store)
		return nil, nil
	}
	store, err := redis.Open(ctx, redis.Options{URL: secret.NewValue([]byte(c.Store.RedisURL.Reveal())), Log: r.log})
	if err != nil {
		return nil, fmt.Errorf("the session store at %s: %w", c.Store.RedisURL, err)
	}
	r.use(store)
	if err := r.awaitStore(ctx, c, waiting); err != nil {
		return nil, err
	}
	return store.Board(), nil
}

// revokeGoodbye is how long a stop waits for a provider to forget tokens.
const revokeGoodbye = 3 * time.Second

func (r *resources) use(store session.Store) {
	r.store = store
	r.close = append(r.close, store.Close)
	r.revoker = oidc.NewRevoker(r.log)
	// After the sessions, whose last refreshes may have tokens for it.
	r.close = append(r.close, func() error { r.revoker.Wait(revokeGoodbye); return nil })
	r.sessions = session.NewShared(store, session.SharedOptions{Log: r.log})
	r.close = append(r.close, func() error {
		// A refresh may take its 30 s and some to save; what is left of the grace is
		// for that, too.
		wait := max(10*time.Second, time.Until(r.graceEnds))
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		return r.sessions.Close(ctx)
	})
}

// storeTold is how often it is said that the store is waited for.
const storeTold = 10 * time.Second

func (r *resources) awaitStore(ctx context.Context, c *config.Config, waiting func()) error {
	at := c.Store.RedisURL.String() // without its password
	deadline := time.Now().Add(storeWait)
	var tell time.Time // from when on it is said again
	for n := 0; ; n++ {
		ping, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := r.store.Ping(ping)
		cancel()
		if err == nil {
			return nil
		}
		if away, ok := errors.AsType[*redis.AwayError](err); ok {
			err = away.StoreAway()
		}
		now := time.Now()
		if ctx.Err() == nil && !now.Before(deadline) {
			return fmt.Errorf("the session store at %s did not answer within %v; see REDIS_URL: %w", at, storeWait, err)
		}
		if n == 0 {
			waiting()
		}
		if ctx.Err() == nil && !now.Before(tell) {
			tell = now.Add(storeTold)
			r.log.Warn("waiting for the session store", "store", at, "gives_up_in", deadline.Sub(now).Round(time.Second).String(), "error", err.Error())
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("told to stop while waiting for the session store at %s: %w", at, err)
		}
	}
}

// signInOptions are where the sign-in provider is, whoever asks it.
func signInOptions(c *config.Config) oidc.ProviderOptions {
	return oidc.ProviderOptions{
		Name:      c.OIDC.Provider,
		Issuer:    c.OIDC.Issuer,
		Setting:   "OIDC_ISSUER (oidc.issuer)",
		Overrides: oidc.Overrides{AuthorizationURL: c.OIDC.AuthorizationURL, TokenURL: c.OIDC.TokenURL},
		AllowHTTP: c.OIDC.AllowInsecureHTTP,
	}
}

// openProvider asks the IdP who it is. An IdP that names another issuer is a
// reason to stop; one that can't be reached is not: everybody who is signed in
// can be served, and it is asked again.
func (r *resources) openProvider(ctx context.Context, c *config.Config) error {
	if c.OIDC.Issuer == "" {
		return nil
	}
	options := signInOptions(c)
	options.Observer, options.OnMetadata = observer{r.metrics, nil}, (&discovery{log: r.log, issuer: c.OIDC.Issuer}).told
	provider, err := oidc.NewProvider(options)
	if err != nil {
		return err
	}
	r.provider = provider
	err = provider.Load(ctx)
	switch {
	case err == nil:
	case errors.Is(err, oidc.ErrNoMetadata):
		r.log.Warn("the identity provider answers, but has no metadata at its issuer's address; nobody can sign in until it has", "issuer", c.OIDC.Issuer, "error", err.Error())
	case errors.Is(err, oidc.ErrUnavailable):
		r.log.Warn("the identity provider can't be reached; nobody can sign in until it can", "issuer", c.OIDC.Issuer, "error", err.Error())
	default:
		return fmt.Errorf("the identity provider at %s: %w", c.OIDC.Issuer, err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		again(run, r.log, provider.Run)
	}()
	r.close = append(r.close, func() error { stop(); <-done; return nil })
	return nil
}

// openKeys opens the folder of keys.
func (r *resources) openKeys(ctx context.Context, c *config.Config, o opener) error {
	adopt, err := o.adopted(c.SigningKey.Adopt)
	if err != nil {
		return err
	}
	r.keys, err = keystore.Open(c.SigningKey.Dir, keystore.Options{Algorithm: r.signingAlgorithm(ctx, c), Adopt: adopt})
	return err
}

// tellNotices logs what was found in the folder of keys.
func (r *resources) tellNotices(told int) int {
	notices := r.keys.Notices()
	for _, notice := range notices[min(told, len(notices)):] {
		r.log.Warn(notice)
	}
	return len(notices)
}

// folderChanged reports whether the folder's manifest was written since it was
// last asked.
func (r *resources) folderChanged() bool {
	info, err := os.Stat(filepath.Join(r.keys.Dir(), "signing-key.json"))
	return err == nil && r.folderAt.Swap(info.ModTime().UnixNano()) != info.ModTime().UnixNano()
}

func (r *resources) folderUnread() { r.folderAt.Store(0) }

// tellUnused says that a key was handed in and is not used, because the fleet has
// another.
func (r *resources) tellUnused(ring keyring.Ring) {
	key, err := r.keys.Adopted()
	if err != nil {
		r.log.Warn("BFF_JWT_SIGNING_KEY can't be read, and is not used: there is a signing key already", "active_kid", ring.Active().ID)
		return
	}
	if _, known := ring.Find(key.ID()); !key.IsZero() && !known {
		r.log.Warn("BFF_JWT_SIGNING_KEY holds another signing key than is in use, and is not used: it is adopted as the first one only",
			"handed_in_kid", key.ID(), "active_kid", ring.Active().ID)
	}
}

// openProxy makes the upstreams ready. It connects to none.
func (r *resources) openProxy(c *config.Config, o opener, current func() *gateway.Generation) error {
	r.tokens = upstream.NewServiceTokens(upstream.ServiceTokensOptions{})
	r.close = append(r.close, func() error { r.tokens.Close(); return nil })
	options := upstream.Options{}
	if c.OIDC.Issuer != "" {
		options.Tokens = r.tokens.For(c.OIDC.Issuer+" "+c.OIDC.ClientID, currentClient{current, r.metrics})
	}
	for name, s := range c.Services {
		service, err := o.service(name, s)
		if err != nil {
			return err
		}
		options.Services = append(options.Services, service)
	}
	proxy, err := upstream.New(options)
	if err != nil {
		return err
	}
	r.proxy = proxy
	r.close = append(r.close, func() error { proxy.Close(); return nil })
	return nil
}

func (o opener) service(name string, s config.Service) (upstream.Service, error) {
	service := upstream.Service{
		Name: name, BaseURL: s.BaseURL.String(), Timeout: s.Timeout,
		TLS: upstream.TLS{ServerName: s.TLS.ServerName},
	}
	var err error
	if s.TLS.CAFile != "" {
		if service.TLS.CA, err = os.ReadFile(s.TLS.CAFile); err != nil {
			return service, fmt.Errorf("service %s: ca_file: %w", name, err)
		}
	}
	if s.TLS.CertFile != "" {
		certificate, err := os.ReadFile(s.TLS.CertFile)
		if err != nil {
			return service, fmt.Errorf("service %s: cert_file: %w", name, err)
		}
		key, err := o.find(s.TLS.Key)
		if err != nil {
			return service, fmt.Errorf("service %s: tls key: %w", name, err)
		}
		pair, err := tls.X509KeyPair(certificate, key.Value.Reveal())
		if err != nil {
			return service, fmt.Errorf("service %s: cert_file and key don't make a pair: %w", name, err)
		}
		service.TLS.Certificate = &pair
	}
	return service, nil
}

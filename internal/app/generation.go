package app

import (
	"context"
	"net/http"
	"slices"
	"time"

	"keyway/internal/config"
	"keyway/internal/dpop"
	"keyway/internal/gateway"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/session"
)

// generation builds what requests are served with from a configuration and the
// rings. It derives keys and parses; it asks nobody. What takes long, which is to
// parse signing keys, is taken over from the generation before, if there was one,
// where the rings that it is made of are as they were.
func (r *resources) generation(c *config.Config, keys rings, before *served) (*served, error) {
	next := &served{rings: keys, clients: map[string]*oidc.Client{}}
	var err error
	if before != nil && keyring.Same(before.rings[nameDPoPKey], keys[nameDPoPKey]) {
		next.proofs = before.proofs
	} else if ring := keys[nameDPoPKey]; !ring.IsZero() {
		if next.proofs, err = dpop.New(ring, r.nonces); err != nil {
			return nil, err
		}
	}
	for _, k := range clients(c) {
		client, err := r.client(k, next, before)
		if err != nil {
			return nil, err
		}
		next.clients[k.peer] = client
	}
	if before != nil && keyring.Same(before.rings[nameSigningKey], keys[nameSigningKey]) {
		next.published = before.published
	} else if next.published, err = jwks.NewPublisher(keys[nameSigningKey], jwks.PublisherOptions{}); err != nil {
		return nil, err
	}
	next.generation, err = r.assemble(c, next)
	return next, err
}

// client is our client at a provider.
func (r *resources) client(k peerClient, next, before *served) (*oidc.Client, error) {
	keys := next.rings
	if before != nil && before.clients[k.peer] != nil &&
		keyring.Same(before.rings[k.secret], keys[k.secret]) && keyring.Same(before.rings[nameSigningKey], keys[nameSigningKey]) &&
		before.proofs == next.proofs {
		return before.clients[k.peer], nil
	}
	return k.build(r, keys, "", next.proofs)
}

func (r *resources) assemble(c *config.Config, s *served) (*gateway.Generation, error) {
	keys := s.rings
	relyingParty, err := r.relyingParty(c, keys, s.clients[signIn])
	if err != nil {
		return nil, err
	}
	sessions, err := r.sessionManager(c, s, relyingParty)
	if err != nil {
		return nil, err
	}
	csrf, err := seal.NewTokens(keys[nameCSRFKey], session.PurposeCSRF, c.Session.Lifetime, r.meter)
	if err != nil {
		return nil, err
	}
	presented, err := r.bearer(c, keys, s.clients)
	if err != nil {
		return nil, err
	}
	parts := gateway.Parts{
		Bearer:   presented,
		Settings: settings(c),
		Sessions: sessions,
		CSRF:     session.NewCSRF(csrf, pendingID(keys[nameCSRFKey])...),
		SignIn:   relyingParty,
		Routes:   c.Routes,
		Proxy:    r.proxy,
		Proofs:   s.proofs,
		JWKS:     counted{s.published, r},
	}
	r.authorizing.parts(&parts)
	return gateway.NewGeneration(parts), nil
}

// pendingID is what others may issue with already.
func pendingID(ring keyring.Ring) []string {
	if pending, ok := ring.Pending(); ok {
		return []string{pending.ID}
	}
	return nil
}

func (r *resources) sessionManager(c *config.Config, s *served, rp *oidc.RelyingParty) (*session.Manager, error) {
	keys, proofs := s.rings, s.proofs
	salt, err := seal.NewHasher(keys[nameTokenHashSalt], session.PurposeSalt, r.meter)
	if err != nil {
		return nil, err
	}
	records, err := seal.NewSealer(keys[nameSessionKey], session.PurposeRecord, r.meter)
	if err != nil {
		return nil, err
	}
	ua, err := seal.NewHasher(keys[nameUAHashSalt], session.PurposeUA, r.meter)
	if err != nil {
		return nil, err
	}
	return session.New(session.Options{
		Shared: r.sessions, Salt: salt, Sealer: records, UA: ua,
		Cookie: session.CookieOptions{Domain: c.Cookie.Domain, Secure: c.Cookie.Secure, SameSite: sameSite(c.Cookie.SameSite)},
		Binding: session.BindingOptions{
			PrefixV4: c.Session.BindAddressPrefix.IPv4, PrefixV6: c.Session.BindAddressPrefix.IPv6, UserAgent: c.Session.BindUserAgent,
		},
		Idle: c.Session.IdleTimeout, Absolute: c.Session.Lifetime, RefreshAhead: c.Session.RefreshAhead,
		Alone:       c.Store.RedisURL.IsZero(),
		Lost:        func(version string) bool { return r.lost.lost(version, time.Now()) },
		Orphaned:    r.revoke(rp),
		HasTokenKey: func(version string) bool { return proofs != nil && proofs.Has(version) },
	})
}

// revoke has the IdP forget tokens that nobody has a use for.
func (r *resources) revoke(rp *oidc.RelyingParty) func(context.Context, session.Record) {
	if rp == nil {
		return nil
	}
	return func(ctx context.Context, rec session.Record) {
		r.revoker.Begin(ctx, rp, []secret.Value{rec.RefreshToken}, func(_ int, err error) {
			r.log.Info("the refresh token of a session that ended during a refresh could not be revoked", "error", err.Error())
		})
	}
}

func sameSite(s config.SameSite) http.SameSite {
	switch s {
	case config.SameSiteStrict:
		return http.SameSiteStrictMode
	case config.SameSiteNone:
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}

func (r *resources) relyingParty(c *config.Config, keys rings, client *oidc.Client) (*oidc.RelyingParty, error) {
	if r.provider == nil {
		return nil, nil
	}
	return oidc.New(oidc.Options{
		Provider: r.provider,
		Client:   client,
		StateKey: keys[nameStateKey],
		Meter:    r.meter,
		OneTime:  oneTime{r.store},
		Scopes:   c.OIDC.Scopes,
		Callback: callback(c.Callback),
		Return:   oidc.ReturnPolicy{AllowedHosts: c.Callback.AllowedRedirectHosts},
		Cookies:  oidc.CookiePolicy{Secure: c.Cookie.Secure, Domain: c.Cookie.Domain},
		PAR:      parMode(c.OIDC.PAR),
		JAR:      jarMode(c.OIDC.JAR),
		JARM:     c.OIDC.JARM == config.SwitchOn,
	})
}

// tellNotOffered says at the start what the provider lacks of what is demanded of it;
// each sign-in that fails for it says so again.
func (r *resources) tellNotOffered(ctx context.Context, rp *oidc.RelyingParty) {
	if rp == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askAlgorithms)
	defer cancel()
	metadata, err := r.provider.Metadata(ctx)
	if err != nil {
		return // it has been told of
	}
	if err := rp.Check(metadata); err != nil {
		r.log.Warn("the identity provider does not offer what the configuration demands; nobody can sign in until it does, or the setting is changed",
			"issuer", r.provider.Issuer(), "error", err.Error())
	}
}

func jarMode(s config.Switch) string {
	switch s {
	case config.SwitchOn:
		return oidc.JARRequired
	case config.SwitchOff:
		return oidc.JAROff
	}
	return oidc.JARAuto
}

func callback(c config.Callback) oidc.Callback {
	dynamic := oidc.Callback{
		Dynamic: c.Dynamic, AllowedHosts: c.AllowedRedirectHosts,
		DefaultScheme: c.DefaultScheme, DefaultHost: c.DefaultHost, Path: config.CallbackPath,
	}
	if c.URL != nil {
		dynamic.Static = c.URL.String()
	}
	return dynamic
}

func parMode(s config.Switch) string {
	switch s {
	case config.SwitchOn:
		return oidc.PARRequired
	case config.SwitchOff:
		return oidc.PAROff
	}
	return oidc.PARAuto
}

func settings(c *config.Config) gateway.Settings {
	s := gateway.Settings{
		TrustedProxies: gateway.TrustedProxies(c.Server.TrustedProxies),
		CORS:           gateway.Origins(c.CORS.AllowOrigins),
		PostLogoutPath: c.Callback.PostLogoutPath,
		ClearSiteData:  c.Logout.ClearSiteData,
		Security:       securityHeaders(c.SecurityHeaders),
		Provider:       c.OIDC.Provider,
		CSRFCookie: gateway.CSRFCookie{
			Domain: c.Cookie.Domain, Secure: c.Cookie.Secure, SameSite: sameSite(c.Cookie.SameSite), Lifetime: c.Session.Lifetime,
		},
		BodyBytes:          int64(c.Limits.BodyBytes),
		ConcurrentRequests: int64(c.Limits.ConcurrentRequests),
		AuthzDisabled:      !c.Authz.Enabled,
		AuthzBodyBytes:     int64(c.PDP.BodyBytes),
		Rights:             rights(c),
	}
	// The hosts of our callbacks are those that browsers know us under.
	if static := c.Callback.Static(); static != nil {
		s.PublicHosts = append(s.PublicHosts, static.Host)
	}
	if c.Callback.Dynamic {
		for _, host := range c.Callback.AllowedRedirectHosts {
			if !slices.Contains(s.PublicHosts, host) {
				s.PublicHosts = append(s.PublicHosts, host)
			}
		}
	}
	// A callback at https says that browsers see us at https, whatever the last
	// hop speaks.
	if static := c.Callback.Static(); static != nil {
		s.DefaultScheme = static.Scheme
	} else if c.Callback.Dynamic {
		s.DefaultScheme = c.Callback.DefaultScheme
	}
	return s
}

// idpHealth says whether sign-ins are possible, from what is known already.
func (r *resources) idpHealth() func() error {
	if r.provider == nil {
		return nil
	}
	return r.provider.Health
}

// adopted is the key of BFF_JWT_SIGNING_KEY, if there is one.
func (o opener) adopted(ref config.SecretRef) (secret.Value, error) {
	found, err := o.find(ref)
	if ref.Default && isNotFound(err) || ref.IsZero() {
		return secret.Value{}, nil
	}
	return found.Value, err
}

func securityHeaders(c config.SecurityHeaders) gateway.SecurityHeaders {
	h := gateway.SecurityHeaders{HSTS: c.HSTS, NoSniff: c.ContentTypeOptions}
	if c.FrameOptions != config.HeaderOff {
		h.FrameOptions = string(c.FrameOptions)
	}
	if c.ReferrerPolicy != config.HeaderOff {
		h.ReferrerPolicy = string(c.ReferrerPolicy)
	}
	return h
}

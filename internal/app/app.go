package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"keyway/internal/config"
	"keyway/internal/fleet"
	"keyway/internal/gateway"
	"keyway/internal/keyring"
	"keyway/internal/telemetry"
)

// Options of Run.
type Options struct {
	Config *config.Config
	// Env looks environment variables up, for secrets.
	Env func(string) (string, bool)
	Log *slog.Logger
	// Ready, when not nil, is called once when both listeners accept.
	Ready func(Addresses)
}

// Addresses are where a running gateway listens.
type Addresses struct{ Public, Admin string }

// Run serves until ctx ends, and then stops gracefully: readiness turns first,
// streams are ended, and requests under way have the configured time to finish.
// An error before Ready was called means that the start was refused.
func Run(ctx context.Context, o Options) error {
	a := &app{config: o.Config, log: o.Log}
	defer func() {
		if err := a.resources.Close(); err != nil {
			o.Log.Warn("closing", "error", err.Error())
		}
	}()
	if err := a.open(ctx, o.Env); err != nil {
		return err
	}
	return a.serve(ctx, o.Ready)
}

// app is one running gateway.
type app struct {
	config    *config.Config
	log       *slog.Logger
	resources resources
	shared    *fleet.Rings // nil unless replicas share a store
	current   atomic.Pointer[served]
}

// served is what requests are served with: a generation and the rings it was
// built from, published as one.
type served struct {
	generation *gateway.Generation
	rings      *rings // never changed once it is published
}

// generation is nil until everything is open.
func (a *app) generation() *gateway.Generation {
	if s := a.current.Load(); s != nil {
		return s.generation
	}
	return nil
}

func (a *app) heldRings() []keyring.Ring { return a.current.Load().rings.all() }

// publish has requests from now on served with r. Those under way finish with
// what they began with.
func (a *app) publish(r *rings) error {
	generation, err := a.resources.generation(a.config, r)
	if err != nil {
		return err
	}
	a.current.Store(&served{generation, r})
	a.resources.metrics.Secrets(r.all())
	return nil
}

// open makes everything ready that can fail, from the cheapest to the slowest.
func (a *app) open(ctx context.Context, env func(string) (string, bool)) error {
	c := a.config
	a.resources.log = a.log
	a.resources.metrics = telemetry.NewMetrics()
	a.resources.lost.log = a.log
	a.resources.lost.ring = func() keyring.Ring { return a.current.Load().rings.sessionKey }
	opener := newOpener(c, env, time.Now())
	rings, err := opener.handedIn(c)
	if err != nil {
		return err
	}
	if err := a.resources.openProxy(c, opener, a.generation); err != nil {
		return err
	}
	board, err := a.resources.openStore(ctx, c)
	if err != nil {
		return err
	}
	if a.shared, err = fleetRings(board, rings); err != nil {
		return err
	}
	if err := a.resources.openProvider(ctx, c); err != nil {
		return err
	}
	if err := a.openRings(ctx, opener, rings); err != nil {
		return withCure(err)
	}
	if err := a.publish(rings); err != nil {
		return err
	}
	a.observe()
	return nil
}

// openRings adds what was not handed in.
func (a *app) openRings(ctx context.Context, opener opener, rings *rings) error {
	if err := a.resources.openKeys(ctx, a.config, opener, a.shared); err != nil {
		return err
	}
	if err := rings.complete(ctx, a.resources.keys, a.shared); err != nil {
		return err
	}
	rings.signingKey = a.resources.keys.SigningRing()
	if a.shared == nil {
		return nil
	}
	var err error
	rings.signingKey, err = a.agreeOnSigningKey(ctx)
	rings.agreed = append(rings.agreed, nameSigningKey)
	return err
}

// tell says at the start what is held. It comes after all that could refuse the
// start, so that a refusal stands alone.
func (a *app) tell() {
	for _, ring := range a.heldRings() {
		a.log.Info("secret", "name", ring.Name(), "version", ring.Active().ID)
	}
	if a.resources.provider == nil {
		a.log.Warn("no identity provider is configured, so nobody can sign in; set OIDC_ISSUER, AUTH_CLIENT_ID and a callback")
	}
}

func (a *app) observe() {
	metrics := a.resources.metrics
	metrics.SecretAges(a.heldRings)
	metrics.ActiveSessions(func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		n, err := a.resources.sessions.Count(ctx)
		if err != nil {
			return -1 // can't know; 0 would say that nobody is signed in
		}
		return float64(n)
	})
}

// serve listens, and stops when ctx ends or a listener fails.
func (a *app) serve(ctx context.Context, ready func(Addresses)) error {
	c := a.config
	health := &gateway.Health{Store: a.resources.sessions.Ping, IdP: a.resources.idpHealth()}
	gw := gateway.New(gateway.Options{
		Current: a.generation, Log: a.log, Metrics: a.resources.metrics, Health: health,
		StreamsPerSession: c.Limits.StreamsPerSession,
	})
	public := &http.Server{
		Handler:           gw,
		ReadHeaderTimeout: c.Server.ReadHeaderTimeout,
		IdleTimeout:       c.Server.IdleTimeout,
		MaxHeaderBytes:    c.Limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		// `OPTIONS *` is answered by the gateway like any other request.
		DisableGeneralOptionsHandler: true,
	}
	admin := &http.Server{
		Handler:           a.adminHandler(health),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	publicListeners, err := listen(c.Server.Host, c.Server.Port)
	if err != nil {
		return err
	}
	adminListener, err := net.Listen("tcp", c.Admin.Addr)
	if err != nil {
		closeAll(publicListeners)
		return &ListenError{"admin", c.Admin.Addr, err}
	}
	a.tell()
	defer a.background()()
	failed := make(chan error, 4)
	serve(public, guarded(publicListeners), failed)
	serve(admin, []net.Listener{adminListener}, failed)
	at := Addresses{Public: publicListeners[0].Addr().String(), Admin: adminListener.Addr().String()}
	a.log.Info("serving", "public", at.Public, "admin", at.Admin)
	if ready != nil {
		ready(at)
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, a.stop(gw, public, admin))
}

// background starts what goes on beside requests, until stop is called.
func (a *app) background() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	if a.shared != nil {
		group.Go(func() { a.keepAgreed(ctx) })
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// stop is a graceful stop. Readiness turns first; the delay gives load balancers
// the time to see it, while everything is still served.
func (a *app) stop(gw *gateway.Gateway, public, admin *http.Server) error {
	server := a.config.Server
	a.log.Info("stopping", "grace", server.ShutdownGrace.String())
	gw.Drain()
	if server.DrainDelay > 0 {
		time.Sleep(server.DrainDelay)
	}
	gw.EndStreams()
	a.resources.graceEnds = time.Now().Add(server.ShutdownGrace)
	ctx, cancel := context.WithTimeout(context.Background(), server.ShutdownGrace)
	defer cancel()
	err := public.Shutdown(ctx)
	if err != nil {
		a.log.Warn("some requests did not finish in time and were cut", "grace", server.ShutdownGrace.String())
		err = public.Close()
	}
	_ = admin.Close()
	gw.Wait()
	a.log.Info("stopped")
	return err
}

func (a *app) adminHandler(health *gateway.Health) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.resources.metrics.Handler())
	mux.HandleFunc("GET /health", health.Ready)
	mux.HandleFunc("GET /health/live", health.Live)
	mux.HandleFunc("GET /health/ready", health.Ready)
	return mux
}

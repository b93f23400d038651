package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"keyway/internal/config"
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
	rings     *rings
	current   atomic.Pointer[gateway.Generation]
}

// open makes everything ready that can fail, from the cheapest to the slowest.
func (a *app) open(ctx context.Context, env func(string) (string, bool)) error {
	c := a.config
	a.resources.log = a.log
	a.resources.metrics = telemetry.NewMetrics()
	opener := newOpener(c, env, time.Now())
	var err error
	if a.rings, err = opener.handedIn(c); err != nil {
		return err
	}
	if err := a.resources.openProxy(c, opener, a.current.Load); err != nil {
		return err
	}
	board, err := a.resources.openStore(ctx, c)
	if err != nil {
		return err
	}
	shared, err := fleetRings(board, a.rings)
	if err != nil {
		return err
	}
	if err := a.resources.openProvider(ctx, c); err != nil {
		return err
	}
	if err := a.resources.openKeys(ctx, c, opener, shared); err != nil {
		return err
	}
	if err := a.rings.complete(ctx, a.resources.keys, shared); err != nil {
		return err
	}
	a.rings.signingKey = a.resources.keys.SigningRing()
	if shared != nil {
		if a.rings.signingKey, err = a.agreeOnSigningKey(ctx, shared); err != nil {
			return err
		}
	}
	generation, err := a.resources.generation(c, a.rings)
	if err != nil {
		return err
	}
	a.current.Store(generation)
	a.observe()
	return nil
}

// tell says at the start what is held. It comes after all that could refuse the
// start, so that a refusal stands alone.
func (a *app) tell() {
	for _, ring := range a.rings.all() {
		a.log.Info("secret", "name", ring.Name(), "version", ring.Active().ID)
	}
	if a.resources.provider == nil {
		a.log.Warn("no identity provider is configured, so nobody can sign in; set OIDC_ISSUER, AUTH_CLIENT_ID and a callback")
	}
}

func (a *app) observe() {
	metrics := a.resources.metrics
	metrics.Secrets(a.rings.all())
	metrics.SecretAges(func() []keyring.Ring { return a.rings.all() })
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
		Current: a.current.Load, Log: a.log, Metrics: a.resources.metrics, Health: health,
		StreamsPerSession: c.Limits.StreamsPerSession,
	})
	public := &http.Server{
		Handler:           gw,
		ReadHeaderTimeout: c.Server.ReadHeaderTimeout,
		IdleTimeout:       c.Server.IdleTimeout,
		MaxHeaderBytes:    c.Limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
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

package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"keyway/internal/admin"
	"keyway/internal/audit"
	"keyway/internal/config"
	"keyway/internal/dpop"
	"keyway/internal/fleet"
	"keyway/internal/gateway"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/rotation"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/secret/source"
	"keyway/internal/telemetry"
)

// Options of Run.
type Options struct {
	Config *config.Config
	// Env looks environment variables up, for secrets.
	Env func(string) (string, bool)
	Log *slog.Logger
	// Ready, when not nil, is called once when both listeners serve.
	Ready func(Addresses)
	// Reload has everything that is handed in read again; may be nil.
	Reload <-chan struct{}
	// Registrars make a new client secret at a peer, and return it when that peer
	// accepts it beside the one before; by the secret's name. Most peers want a
	// person for that.
	Registrars map[string]func(context.Context) (secret.Value, error)
	// Load makes requests for somebody to look at in the console; nil: nothing does.
	Load admin.Load
}

// Addresses are where a running gateway listens.
type Addresses struct{ Public, Admin string }

// Run serves until ctx ends, and then stops gracefully: readiness turns first,
// streams are ended, and requests under way have the configured time to finish.
// An error before Ready was called means that the start was refused.
func Run(ctx context.Context, o Options) error {
	a := &app{config: o.Config, log: o.Log, reload: o.Reload, registrars: o.Registrars, load: o.Load}
	defer func() {
		if err := a.resources.Close(); err != nil {
			o.Log.Warn("closing", "error", err.Error())
		}
	}()
	defer a.closeFront()
	if err := a.open(ctx, o.Env); err != nil {
		return err
	}
	return a.serve(ctx, o.Ready)
}

// app is one running gateway.
type app struct {
	config     *config.Config
	log        *slog.Logger
	reload     <-chan struct{}
	registrars map[string]func(context.Context) (secret.Value, error)
	load       admin.Load
	resources  resources
	recorder   *audit.Recorder
	chronicle  *chronicle

	id        string // of this replica
	defs      []definition
	clientIDs map[string]string // by peer
	first     rings             // as they were at the start
	shared    bool              // replicas share a store
	board     fleet.Board
	vault     *fleet.Vault
	side      fleetSide
	overheard *overheard // side, for the runner
	sources   *sources
	watcher   *source.Watcher
	runner    *rotation.Runner
	follower  *follower
	lookAgain singleflight.Group // for credentials
	tallies   map[string]*rotation.Tally
	turnings  map[string]rotation.Secret
	verifying *verifying
	opener    *opener
	policies  *policies
	decisions *audit.Decisions // nil: nobody is told
	current   atomic.Pointer[served]
	front     *front
	stored    atomic.Bool // the store is open

	mirrored      keyring.Ring // what the folder of keys has
	noticesTold   int          // of those of the folder of keys
	rootTurnedFor string       // the key-encryption key that the root key was turned for
}

// served is what requests are served with: a generation and the rings it was
// built from, published as one.
type served struct {
	generation *gateway.Generation
	rings      rings                   // never changed once it is published
	clients    map[string]*oidc.Client // by peer
	published  *jwks.Publisher
	proofs     *dpop.Keys // nil: tokens are bearer tokens
}

// generation is nil until everything is open.
func (a *app) generation() *gateway.Generation {
	if s := a.current.Load(); s != nil {
		return s.generation
	}
	return nil
}

func (a *app) heldRings() []keyring.Ring { return a.current.Load().rings.all(a.defs) }

// publish has requests from now on served with r. Those under way finish with
// what they began with. Our public keys are in the folder before anything is
// signed with one of them.
func (a *app) publish(r rings) error {
	next, err := a.resources.generation(a.config, r, a.current.Load())
	if err != nil {
		return err
	}
	a.mirror(r[nameSigningKey])
	a.current.Store(next)
	a.resources.metrics.Secrets(r.all(a.defs))
	return nil
}

// mirror keeps the folder of keys like the ring, for other tools to read. A folder
// that can't be written holds nothing up: what peers fetch is served from memory.
func (a *app) mirror(ring keyring.Ring) {
	if !a.mirrored.IsZero() && keyring.Same(ring, a.mirrored) {
		return
	}
	if err := a.resources.keys.Mirror(ring); err != nil {
		a.log.Error("the folder of keys could not be brought up to date; other tools read old keys in it", "error", err.Error())
	} else {
		a.mirrored = ring
	}
	a.noticesTold = a.resources.tellNotices(a.noticesTold)
}

// open makes everything ready that can fail, from the cheapest to the slowest.
func (a *app) open(ctx context.Context, env func(string) (string, bool)) error {
	c := a.config
	a.id = fleet.NewReplicaID()
	a.defs = definitions(c)
	a.shared = !c.Store.RedisURL.IsZero()
	a.resources.log = a.log
	a.resources.metrics = telemetry.NewMetrics()
	a.resources.meter = seal.NewMeter()
	a.resources.lost.log = a.log
	a.resources.lost.ring = func() keyring.Ring { return a.current.Load().rings[nameSessionKey] }
	a.resources.tally = a.refused
	a.resources.newer = a.newerClient
	a.tallies = map[string]*rotation.Tally{}
	for _, d := range a.defs {
		a.tallies[d.name] = rotation.NewTally(c.Rotation.For(d.name).Guard)
	}
	a.clientIDs = map[string]string{}
	for _, k := range clients(c) {
		a.clientIDs[k.peer] = k.id
	}
	opener := newOpener(c, env)
	a.verifying, a.opener = newVerifying(), &opener
	handedIn, err := opener.handedIn(c, a.defs)
	if err != nil {
		return err
	}
	a.sources = newSources(handedIn)
	if err := a.resources.openProxy(c, opener, a.generation); err != nil {
		return err
	}
	if err := a.resources.openTraces(ctx, c, env, a.id); err != nil {
		return err
	}
	redisBoard, err := a.openFront(ctx)
	if err != nil {
		return err
	}
	if err := a.resources.openProvider(ctx, c); err != nil {
		return err
	}
	if err := a.resources.openPeers(c); err != nil {
		return err
	}
	if err := a.openAuthorizing(c); err != nil {
		return err
	}
	if err := a.resources.openKeys(ctx, c, opener); err != nil {
		return err
	}
	if err := a.openVault(ctx, redisBoard, handedIn); err != nil {
		return withCure(err)
	}
	began := time.Now()
	if a.first, err = a.openRings(ctx, handedIn); err != nil {
		return withCure(err)
	}
	if err := a.openRotation(opener); err != nil {
		return err
	}
	if err := a.openAuditing(opener); err != nil {
		return err
	}
	if err := a.openDecisions(opener); err != nil {
		return err
	}
	a.policies = newPolicies(a)
	a.follower.read.Store(began.UnixNano())
	if err := a.publish(a.first); err != nil {
		return err
	}
	a.resources.tellNotOffered(ctx, a.current.Load().generation.SignIn)
	a.follower.announce()
	a.observe()
	return nil
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
	a.tellMethod()
}

func (a *app) observe() {
	metrics := a.resources.metrics
	metrics.SecretAges(a.heldRings)
	metrics.From(a.metricSources())
	for _, d := range a.defs {
		metrics.Rotates(d.name)
	}
	metrics.SecretUses(func(yield func(secret, version, op string, n uint64)) {
		for _, use := range a.resources.meter.Uses() {
			yield(use.Secret, use.Version, "issue", use.Made)
			yield(use.Secret, use.Version, "accept", use.Checked)
		}
	})
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

// serve has the listeners serve, and stops when ctx ends or one of them fails.
func (a *app) serve(ctx context.Context, ready func(Addresses)) error {
	c := a.config
	health := &gateway.Health{Store: a.resources.sessions.Ping, IdP: a.resources.idpHealth()}
	gw := gateway.New(gateway.Options{
		Current: a.generation, Log: a.log, Metrics: a.resources.metrics, Health: health,
		StreamsPerSession: c.Limits.StreamsPerSession,
		Reread:            a.reread, MayIssue: a.mayIssue, Refused: a.refused, Traces: a.resources.tracer(),
		Limiter: a.limiter(), Callers: a.callers(), OnDecision: a.onDecision,
		Revoker: a.resources.revoker,
	})
	api, err := a.adminAPI()
	if err != nil {
		return err
	}
	if a.front == nil {
		if err := a.listen(); err != nil {
			return err
		}
	}
	a.tell()
	defer a.background()()
	a.awaitCounted(ctx)
	f := a.front
	f.admin.hand(a.adminHandler(health, api))
	f.public.hand(gw)
	a.log.Info("serving", "public", f.at.Public, "admin", f.at.Admin)
	if ready != nil {
		ready(f.at)
	}
	select {
	case <-ctx.Done():
	case err = <-f.failed:
	}
	return errors.Join(err, a.stop(gw, f.public.Server, f.admin.Server))
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

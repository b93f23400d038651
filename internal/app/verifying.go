package app

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"keyway/internal/admin"
	"keyway/internal/config"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/route"
	"keyway/internal/secret/source"
	"keyway/internal/session"
	"keyway/internal/verify"
)

// verifying is the checklist, and what it last came to.
type verifying struct {
	one     chan struct{}        // who goes through it now
	ended   time.Time            // when somebody last did; of whoever does now
	endedOf map[string]time.Time // by name of what was asked for: when; of whoever does now

	mu       sync.Mutex
	waiting  map[string]*asked // by what is asked for: has not begun
	last     verify.Report     // of each check what was seen last
	outcomes map[string]bool   // by check: whether it was good the last time
}

func newVerifying() *verifying {
	return &verifying{one: make(chan struct{}, 1), endedOf: map[string]time.Time{}, waiting: map[string]*asked{}, outcomes: map[string]bool{}}
}

// verifier is what the admin API has the checklist gone through by.
type verifier struct{ a *app }

var _ admin.Verifier = verifier{}

// Verify implements admin.Verifier.
func (v verifier) Verify(ctx context.Context, secrets []string, by string) (verify.Report, error) {
	if _, err := (control(v)).named(secrets); err != nil {
		return verify.Report{}, err
	}
	r, first, err := v.a.verifying.shared(ctx, secrets, by, func() (verify.Report, error) {
		return v.a.goThrough(ctx, verify.Options{Secrets: secrets})
	})
	if err == nil && first {
		v.a.recordVerified(ctx, by, strings.Join(secrets, " "), "", r)
	}
	return r, err
}

// LastReport implements admin.Verifier.
func (v verifier) LastReport() (verify.Report, bool) { return v.a.lastReport() }

// lastReport is what this replica has seen last of each check; false: nothing yet.
func (a *app) lastReport() (verify.Report, bool) {
	a.verifying.mu.Lock()
	defer a.verifying.mu.Unlock()
	return a.verifying.last, !a.verifying.last.At.IsZero()
}

// verify goes through the checklist when nobody else does, without being asked to.
func (a *app) verify(ctx context.Context, o verify.Options) (verify.Report, error) {
	return a.verifying.alone(ctx, nil, func() (verify.Report, error) { return a.goThrough(ctx, o) })
}

// goThrough goes through the checklist now, and keeps what it came to.
func (a *app) goThrough(ctx context.Context, o verify.Options) (verify.Report, error) {
	_, _ = a.follower.look(ctx) // so that what was just done is what is looked at
	r := verify.Inside(ctx, a.subject(), o)
	if err := context.Cause(ctx); err != nil {
		return verify.Report{}, err // whatever the checks say, it was said in haste
	}
	a.verifying.mu.Lock()
	if len(o.Secrets) > 0 {
		a.verifying.last = a.verifying.last.Renewed(r)
	} else {
		a.verifying.last = r
	}
	for _, c := range r.Checks {
		if c.Skipped {
			delete(a.verifying.outcomes, c.ID)
		} else {
			a.verifying.outcomes[c.ID] = c.OK
		}
	}
	a.verifying.mu.Unlock()
	return r, nil
}

// subject is this gateway as package verify looks at it.
func (a *app) subject() verify.Subject {
	now := a.current.Load()
	s := verify.Subject{
		Replica:    a.id,
		Rings:      func() map[string]keyring.Ring { return a.current.Load().rings },
		Deployment: a.deployment(),
		SigningKey: nameSigningKey, JWKS: currentKeys{a}, MaxAge: jwks.DefaultMaxAge,
		Fetched: a.lastFetched(),
		Peers:   a.verifiedPeers(now),
		SignIn:  a.verifiedSignIn(now),
		PDP:     a.verifiedPoint(),
		Seals:   a.seals(),
		Fleet:   a.side.reports, Shared: a.shared,
		Sources:   a.sourceTroubles,
		Store:     storeTrip{a},
		Turning:   a.verifiedTurning,
		AdminAddr: a.config.Admin.Addr,
		Account:   a.account(),
	}
	for _, d := range a.defs {
		if d.handedIn() {
			s.HandedIn = append(s.HandedIn, d.name)
		}
	}
	a.verifiedBearer(now, &s)
	return s
}

// currentKeys serves what is published now, and counts no fetch.
type currentKeys struct{ a *app }

func (k currentKeys) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.a.current.Load().published.ServeHTTP(w, r)
}

// lastFetched is when a program last fetched our keys, as far as this replica knows:
// here, or at others since they have the newest.
func (a *app) lastFetched() time.Time {
	last := a.resources.fetched.last()
	if at := a.overheard.fetched(); at.After(last) {
		last = at
	}
	return last
}

// deployment is what the outside checks have to know.
func (a *app) deployment() verify.Deployment {
	c := a.config
	d := verify.Deployment{Public: publicOrigin(c.Callback), Cookie: c.Cookie.SessionName(), SecureCookie: c.Cookie.Secure}
	ring := a.current.Load().rings[nameSigningKey]
	if !ring.IsZero() {
		d.ActiveKey = ring.Active().ID
		for v := range ring.Live() {
			d.Keys = append(d.Keys, v.ID)
		}
	}
	if a.resources.provider != nil {
		if m := a.resources.provider.Known(); m != nil {
			d.Authorization = m.AuthorizationEndpoint
		}
	}
	for _, r := range c.Routes.Routes() {
		path, ok := examplePath(r.Path)
		if !ok {
			continue
		}
		methods := r.EffectiveMethods()
		switch {
		case r.Auth == route.AuthSession && d.Session == "" && !r.Streaming && slices.Contains(methods, http.MethodGet):
			d.Session = path
		case r.Auth == route.AuthBearer && len(methods) > 0:
			method := methods[0]
			if slices.Contains(methods, http.MethodGet) {
				method = http.MethodGet
			}
			d.Bearer = append(d.Bearer, verify.Route{ID: r.String(), Method: method, Path: path})
		}
	}
	return d
}

// examplePath is a path that a pattern matches.
func examplePath(pattern string) (string, bool) {
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		if s == "*" || strings.HasPrefix(s, "{") {
			segments[i] = "verify"
		}
	}
	path := strings.Join(segments, "/")
	return path, !strings.ContainsAny(path, "*{}")
}

// publicOrigin is that by which browsers know us, from the callback; empty: nobody
// said.
func publicOrigin(c config.Callback) string {
	static := c.Static()
	if static == nil && c.Dynamic && len(c.AllowedRedirectHosts) > 0 {
		static = &url.URL{Scheme: c.DefaultScheme, Host: c.AllowedRedirectHosts[0]}
	}
	if static == nil {
		return ""
	}
	return strings.ToLower(static.Scheme + "://" + static.Host)
}

// callbacks are all that the provider has to know.
func callbacks(c config.Callback) []string {
	var all []string
	if static := c.Static(); static != nil {
		all = append(all, static.String())
	}
	if c.Dynamic {
		for _, host := range c.AllowedRedirectHosts {
			u := url.URL{Scheme: c.DefaultScheme, Host: strings.ToLower(host), Path: config.CallbackPath}
			if !slices.Contains(all, u.String()) {
				all = append(all, u.String())
			}
		}
	}
	return all
}

func (a *app) sourceTroubles() map[string]string {
	troubles := map[string]string{}
	for _, t := range a.watcher.Troubles() {
		troubles[t.Name] = troubleText(t)
	}
	return troubles
}

func troubleText(t source.Trouble) string {
	return strings.TrimPrefix(t.Error(), t.Name+": ")
}

// storeTrip is the session store, as package verify tries it.
type storeTrip struct{ a *app }

func (s storeTrip) Ping(ctx context.Context) error { return s.a.resources.sessions.Ping(ctx) }

// RoundTrip takes a lease of nothing, and gives it back.
func (s storeTrip) RoundTrip(ctx context.Context) error {
	var store session.Leases = s.a.resources.store
	name, owner := "verify:"+rand.Text(), s.a.id
	got, err := store.Acquire(ctx, name, owner, 10*time.Second)
	if err == nil && !got {
		err = errors.New("what nobody else can have is taken")
	}
	if err != nil {
		return err
	}
	kept, err := store.Renew(ctx, name, owner, 10*time.Second)
	if err == nil && !kept {
		err = errors.New("what was written is not there")
	}
	if err != nil {
		return err
	}
	return store.Release(ctx, name, owner)
}

// verifiedChecks yields what each check last came to, on this replica; those that did
// not apply are left out.
func (a *app) verifiedChecks(yield func(check string, ok bool)) {
	a.verifying.mu.Lock()
	outcomes := maps.Clone(a.verifying.outcomes)
	a.verifying.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(outcomes)) {
		yield(id, outcomes[id])
	}
}

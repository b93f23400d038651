package verify

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/seal"
	"keyway/internal/secret"
)

var (
	day   = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	today = func(clock string) time.Time {
		at, err := time.Parse("15:04", clock)
		if err != nil {
			panic(err)
		}
		return day.Add(time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute)
	}
)

// ring makes a ring from words such as "k2 active, k1 retiring", newest first.
func ring(t testing.TB, name, versions string) keyring.Ring {
	t.Helper()
	var all []keyring.Version
	for n, text := range strings.Split(versions, ", ") {
		id, state, _ := strings.Cut(text, " ")
		v := keyring.Version{ID: id, State: keyring.State(state), CreatedAt: today("14:00").Add(-time.Duration(n) * time.Hour)}
		if v.State.Live() {
			v.Value = secret.NewValue([]byte("0123456789-0123456789-0123456789-" + id))
		}
		all = append(all, v)
	}
	r, err := keyring.New(name, all...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerdictsOnCredentials(t *testing.T) {
	proved, refuted, unproved := oidc.Proved, oidc.Refuted, oidc.Unproved
	now := today("14:30")
	for name, c := range map[string]struct {
		ring     string
		verdicts []oidc.Verdict // the active version's first
		signs    bool
		fetched  time.Time
		ends     time.Time
		at       time.Time
		ok       bool
		definite bool
		spares   string
		words    []string
	}{
		"accepted":          {ring: "k1 active", verdicts: []oidc.Verdict{proved}, ok: true, words: []string{"active k1 accepted"}},
		"both":              {ring: "k2 active, k1 retiring", verdicts: []oidc.Verdict{proved, proved}, ok: true},
		"the old one ended": {ring: "k2 active, k1 retiring", verdicts: []oidc.Verdict{proved, refuted}, ok: true, words: []string{"retiring k1 refused", "a rollback to it would not help"}},
		"says neither":      {ring: "k1 active", verdicts: []oidc.Verdict{unproved}, ok: true, words: []string{"say neither"}},
		"in use and refused, the other is not": {ring: "k2 active, k1 retiring", verdicts: []oidc.Verdict{refuted, proved}, definite: true, spares: "k1",
			words: []string{"active k2 refused, retiring k1 accepted", "it still accepts k1", "keyway rollback client-secret"}},
		"all refused":       {ring: "k2 active, k1 retiring", verdicts: []oidc.Verdict{refuted, refuted}, definite: true, words: []string{"was changed, has expired or was deleted at https://id.example"}},
		"expired":           {ring: "k1 active", verdicts: []oidc.Verdict{refuted}, ends: today("12:00"), definite: true, words: []string{"has expired at the identity provider (client_secret_expires_at: 12:00:00 UTC)"}},
		"new and not known": {ring: "k2 pending, k1 active", verdicts: []oidc.Verdict{proved, refuted}, words: []string{"not registered at https://id.example for the client me"}},
		"the IdP holds an old JWKS": {ring: "k2 active, k1 retiring", verdicts: []oidc.Verdict{refuted, proved}, signs: true, fetched: today("13:40"), definite: true, spares: "k1",
			words: []string{"the IdP still holds the JWKS of 13:40:00 UTC", "ask again at 13:45:00 UTC by our max-age", "ask again at the latest at 14:40:00 UTC"}},
		"nobody has fetched it": {ring: "k1 active", verdicts: []oidc.Verdict{refuted}, signs: true, definite: true, words: []string{"nobody has fetched our JWKS", "jwks.public", "register the key with kid k1"}},
		"fetched, and refused":  {ring: "k1 active", verdicts: []oidc.Verdict{refuted}, signs: true, fetched: today("14:20"), definite: true, words: []string{"last fetched at 14:20:00 UTC, with the key k1 in it", "a key set that it keeps itself"}},
		"new, it may not know":  {ring: "k2 pending, k1 active", verdicts: []oidc.Verdict{proved, refuted}, signs: true, fetched: today("13:58"), at: today("14:02"), ok: true, words: []string{"the IdP still holds the JWKS of 13:58:00 UTC", "it may be so until 14:05:00 UTC"}},
		"new for long":          {ring: "k2 pending, k1 active", verdicts: []oidc.Verdict{proved, refuted}, signs: true, fetched: today("13:50"), words: []string{"still holds the JWKS of 13:50:00 UTC"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := ring(t, "client-secret", c.ring)
			var all []verdictOf
			for v := range r.Live() {
				all = append(all, verdictOf{v, c.verdicts[len(all)]})
			}
			i := inside{Subject: Subject{MaxAge: 5 * time.Minute, Fetched: c.fetched}}
			at := now
			if !c.at.IsZero() {
				at = c.at
			}
			f := i.judge(Peer{Name: "p", Issuer: "https://id.example", ClientID: "me", Secret: "client-secret", Signs: c.signs, Ends: c.ends}, all, at)
			says(t, f, c.ok, c.words...)
			if f.definite != c.definite || f.spares != c.spares || c.definite && f.blames != r.Active().ID {
				t.Errorf("definite %v, blames %q, spares %q", f.definite, f.blames, f.spares)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	for left, c := range map[time.Duration]struct {
		ok   bool
		word string
	}{
		-time.Hour: {false, "has expired"}, 24 * time.Hour: {false, "expires soon"}, 20 * 24 * time.Hour: {true, "time for a new one"}, 90 * 24 * time.Hour: {true, "in 90 days"},
	} {
		says(t, inside{}.expiry(Peer{ClientID: "me", Issuer: "https://id.example", Ends: day.Add(left)}, day), c.ok, c.word)
	}
}

func TestIntrospection(t *testing.T) {
	p := Peer{Name: "p", Issuer: "https://id.example", ClientID: "me"}
	for name, c := range map[string]struct {
		body  string
		err   error
		ok    bool
		words []string
	}{
		"inactive":    {body: `{"active":false}`, ok: true},
		"active":      {body: `{"active":true}`, words: []string{"active to anything", "is let in"}},
		"nonsense":    {body: `{"ok":true}`, words: []string{"no introspection endpoint"}},
		"a page":      {body: `<html>`, words: []string{"no introspection endpoint"}},
		"refuses us":  {err: &oidc.OAuthError{Endpoint: "introspection", Status: 403, Code: "access_denied"}, words: []string{"refuses us", "may not introspect"}},
		"by secret":   {err: &oidc.OAuthError{Endpoint: "introspection", Status: 401, Code: "invalid_client"}, words: []string{"the credential of the client me is not accepted"}},
		"away":        {err: &oidc.UnavailableError{Endpoint: "introspection", Status: 503}, words: []string{"away", "503"}},
		"not offered": {err: oidc.ErrNotOffered, ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			p.Introspect = func(_ context.Context, token string) ([]byte, error) {
				if len(token) < 40 {
					t.Errorf("%q could be somebody's", token)
				}
				return []byte(c.body), c.err
			}
			says(t, introspection(t.Context(), p), c.ok, c.words...)
		})
	}
}

func TestDiscoveryAndClock(t *testing.T) {
	var serve http.HandlerFunc
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r) }))
	defer server.Close()
	i := inside{Subject: Subject{HTTP: server.Client()}}
	p := Peer{Name: "p", Issuer: server.URL}
	date := func(off time.Duration, age string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
			w.Header().Set("Age", age)
			_, _ = w.Write([]byte(`{"issuer":"` + server.URL + `"}`))
		}
	}
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		ok    bool
		words []string
	}{
		"good":        {date(0, ""), true, nil},
		"other":       {text(200, `{"issuer":"https://other.example"}`), false, []string{"https://other.example", "another issuer"}},
		"maintenance": {text(503, "back soon"), false, []string{"503", "away"}},
		"a page":      {text(200, "<html>"), false, []string{"something else than the identity provider"}},
		"moved":       {text(404, ""), false, []string{"404", "it answers, but has no metadata there", "OIDC_ISSUER"}},
	} {
		serve = c.serve
		t.Run("discovery "+name, func(t *testing.T) { says(t, i.discovery(t.Context(), p), c.ok, c.words...) })
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		ok    bool
		word  string
	}{
		"right": {date(0, ""), true, "within 2 s"}, "ahead": {date(3*time.Minute+2*time.Second, ""), false, "3 min ahead"},
		"behind": {date(-3*time.Minute-2*time.Second, ""), false, "3 min behind"}, "a little off": {date(20*time.Second, ""), true, "ahead"},
		"from a cache": {date(-10*time.Minute, "600"), true, "within 2 s"},
	} {
		serve = c.serve
		t.Run("clock "+name, func(t *testing.T) { says(t, i.clock(t.Context(), p), c.ok, c.word) })
	}
}

// A seal that forgets its old keys, and one that takes what is over.
func TestWhatVersionsIssued(t *testing.T) {
	r := ring(t, "state-key", "k4 pending, k3 active, k2 retiring, k1 retired, k0 rejected")
	i := inside{Subject: Subject{Rings: func() map[string]keyring.Ring { return map[string]keyring.Ring{"state-key": r} }}}
	honest := func(by keyring.Ring) (func(keyring.Ring) error, error) {
		tokens, err := seal.NewTokens(by, "a test", time.Hour)
		if err != nil {
			return nil, err
		}
		token := tokens.Mint("x", time.Now())
		return func(by keyring.Ring) error {
			tokens, err := seal.NewTokens(by, "a test", time.Hour)
			if err != nil {
				return err
			}
			return tokens.Check(token, "x", time.Now())
		}, nil
	}
	says(t, i.seal(Seal{"state-key", "state", honest}), true, "accepted from k3, k4, k2", "refused from 2 versions that ended (k1, k0)")
	forgets := func(by keyring.Ring) (func(keyring.Ring) error, error) {
		return func(keyring.Ring) error {
			if by.Active().ID == "k3" {
				return seal.ErrForged
			}
			return nil
		}, nil
	}
	f := i.seal(Seal{"state-key", "state", forgets})
	says(t, f, false, "what k3 issues is refused", "keyway rollback state-key")
	if !f.definite || f.blames != "k3" || f.spares != "k2" {
		t.Errorf("%+v", f)
	}
	takesAll := func(keyring.Ring) (func(keyring.Ring) error, error) {
		return func(keyring.Ring) error { return nil }, nil
	}
	says(t, i.seal(Seal{"state-key", "state", takesAll}), false, "what retired k1 issued is not refused", "still accepted")
	says(t, i.seal(Seal{"other", "other", takesAll}), true, "there is no other")
}

func TestFleet(t *testing.T) {
	now := today("14:30")
	r := ring(t, "csrf-key", "k2 active, k1 retiring")
	i := inside{Subject: Subject{
		Replica: "me", HandedIn: []string{"csrf-key"},
		Rings: func() map[string]keyring.Ring { return map[string]keyring.Ring{"csrf-key": r} },
	}}
	report := func(id, host, issues, handedIn string, holds ...string) fleet.Report {
		held := fleet.Held{Holds: map[string]time.Time{}, Issues: issues, HandedIn: handedIn}
		for _, v := range holds {
			held.Holds[v] = now
		}
		return fleet.Report{ID: id, Host: host, Until: now.Add(time.Minute), Secrets: map[string]fleet.Held{"csrf-key": held}}
	}
	roll := func(reports ...fleet.Report) fleet.Roll { return fleet.Roll{Now: now, Reports: reports} }
	a := report("a", "pod-a", "k2", "k2", "k1", "k2")
	says(t, i.versions(roll(a, report("b", "pod-b", "k2", "", "k1", "k2"))), true, "2 replicas")

	lacks := i.versions(roll(a, report("b", "pod-b", "k1", "", "k1")))
	if lacks.ok || lacks.saw != "pod-b (b) lacks csrf-key k2, which is there since 14:00:00 UTC" {
		t.Errorf("%+v", lacks)
	}
	lags := i.versions(roll(a, report("b", "", "k1", "", "k1", "k2")))
	if lags.ok || !strings.HasPrefix(lags.saw, "b still issues with csrf-key k1; k2 is in use since") {
		t.Errorf("%+v", lags)
	}
	gone := report("b", "pod-b", "k1", "k1", "k1")
	gone.Until = now.Add(-time.Second)
	says(t, i.versions(roll(a, gone)), true, "1 replica,")
	says(t, i.versions(roll(gone)), false, "no replica has been heard")

	says(t, i.handedIn(roll(a, report("b", "pod-b", "k2", "k2"))), true)
	says(t, i.handedIn(roll(a, report("b", "pod-b", "k2", ""))), true)
	says(t, i.handedIn(roll(a, gone)), true)
	says(t, i.handedIn(roll(a, report("b", "pod-b", "k2", "k1"))), false, "pod-b (b) is given the old value k1 (retiring), the others k2", "restart")
	says(t, i.handedIn(roll(a, report("b", "pod-b", "k2", "k0"))), false, "k0 (unknown to the fleet)")
	troubled := report("b", "pod-b", "k2", "k2")
	held := troubled.Secrets["csrf-key"]
	held.Trouble = "empty"
	troubled.Secrets["csrf-key"] = held
	says(t, i.handedIn(roll(a, troubled)), false, "pod-b (b) has trouble with the value of csrf-key: empty")

	wrong := a
	wrong.Ahead = -3 * time.Minute
	clocks := roll(wrong)
	clocks.Now, clocks.Reports[0].Until = time.Now(), time.Now().Add(time.Minute)
	says(t, i.clocks(clocks), false, "the clock of pod-a (a) is 3 min behind", "NTP")
	own := roll(report("me", "here", "k2", ""))
	own.Now, own.Reports[0].Until = time.Now().Add(-time.Hour), time.Now()
	says(t, i.clocks(own), false, "here (me), which looked", "60 min ahead")
	own.Now = time.Now()
	own.Reports[0].Until = time.Now().Add(time.Minute)
	says(t, i.clocks(own), true)
}

type failingStore struct{ ping, trip error }

func (s failingStore) Ping(context.Context) error      { return s.ping }
func (s failingStore) RoundTrip(context.Context) error { return s.trip }

func TestStoreSourcesAndRotations(t *testing.T) {
	rings := func() map[string]keyring.Ring {
		return map[string]keyring.Ring{"csrf-key": ring(t, "csrf-key", "k1 active")}
	}
	one := func(s Subject, of func(inside) []step) finding {
		s.Rings = rings
		return of(inside{Subject: s})[0].run(t.Context())
	}
	says(t, one(Subject{Store: failingStore{}}, inside.store), true, "written to and read")
	says(t, one(Subject{Store: failingStore{ping: errors.New("refused")}}, inside.store), false, "refused", "away")
	says(t, one(Subject{Store: failingStore{trip: errors.New("OOM")}}, inside.store), false, "OOM", "memory")

	troubles := map[string]string{}
	sources := Subject{HandedIn: []string{"csrf-key"}, Sources: func() map[string]string { return troubles }}
	says(t, one(sources, inside.sources), true, "1 secret read")
	troubles["csrf-key"] = "/run/secrets/x: the file is empty"
	says(t, one(sources, inside.sources), false, "csrf-key: /run/secrets/x: the file is empty", "last good value")

	now := time.Now()
	for name, c := range map[string]struct {
		t     Turning
		err   error
		ok    bool
		words []string
	}{
		"rest":     {t: Turning{}, ok: true, words: []string{"nothing waits"}},
		"new":      {t: Turning{Pending: "k2", Since: now.Add(-time.Minute), Waiting: "w"}, ok: true, words: []string{"under way: csrf-key k2"}},
		"long":     {t: Turning{Pending: "k2", Since: now.Add(-20 * time.Minute), Waiting: "not yet held by b7", Blocked: []string{"b7"}}, words: []string{"k2 is pending since", "20 min", "not yet held by b7 (held up by b7)", "keyway rollback csrf-key"}},
		"a person": {t: Turning{Operator: "replace the file"}, words: []string{"turned by a person", "Replace the file."}},
		"due":      {t: Turning{Due: now.Add(-2 * time.Hour)}, words: []string{"was due at", "keyway rotate csrf-key"}},
		"just due": {t: Turning{Due: now.Add(-time.Minute)}, ok: true},
		"overdue":  {t: Turning{Overdue: map[string]time.Time{"k0": now.Add(-2 * time.Hour)}}, words: []string{"k0 should have ended at"}},
		"unknown":  {err: errors.New("store away"), words: []string{"store away"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.t.Secret = "csrf-key"
			says(t, one(Subject{Turning: func(context.Context) ([]Turning, error) { return []Turning{c.t}, c.err }}, inside.turning), c.ok, c.words...)
		})
	}
}

// Only what is about a secret, when that is asked for.
func TestAboutOneSecret(t *testing.T) {
	rings := map[string]keyring.Ring{"csrf-key": ring(t, "csrf-key", "k1 active"), "state-key": ring(t, "state-key", "s1 active")}
	accepts := func(keyring.Ring) (func(keyring.Ring) error, error) {
		return func(keyring.Ring) error { return nil }, nil
	}
	s := Subject{
		Replica: "me", Rings: func() map[string]keyring.Ring { return rings },
		Seals: []Seal{{"csrf-key", "tokens", accepts}, {"state-key", "state", accepts}}, Store: failingStore{},
	}
	r := Inside(t.Context(), s, Options{Secrets: []string{"csrf-key"}})
	if len(r.Checks) != 1 || r.Checks[0].ID != "issued.csrf-key" || !r.OK || r.Deployment != nil || r.Replica != "me" {
		t.Errorf("%+v", r)
	}
	if r := Inside(t.Context(), s, Options{}); len(r.Checks) != 4 || r.Deployment == nil {
		t.Errorf("%+v", r)
	}
}

package app

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/authz/cedar"
	"keyway/internal/config"
	"keyway/internal/principal"
	"keyway/internal/testkit/leakhunt"
	"keyway/internal/testkit/logbuffer"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// point is a decision point that takes some tokens, and allows what it is told to.
type point struct {
	*httptest.Server

	mu     sync.Mutex
	takes  []string // tokens; none: whatever comes
	allow  bool
	asked  int // questions of people
	proofs int
	parent string // the last traceparent
}

func startPoint(t testing.TB, takes ...string) *point {
	p := &point{takes: takes, allow: true}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *point) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if len(p.takes) > 0 && !slices.Contains(p.takes, token) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var q authz.Question
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &q)
	if q.Subject.Type == authzen.Probe.Subject.Type {
		p.proofs++
	} else {
		p.asked++
	}
	p.parent = r.Header.Get("Traceparent")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"decision": p.allow})
}

func (p *point) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *point) questions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// withPDP are options with a pdp.yaml.
func withPDP(t testing.TB, environ map[string]string, settings, routes, pdp string) Options {
	t.Helper()
	o := options(t, environ, settings, "")
	files := map[string][]byte{config.SettingsFile: []byte(settings), config.PDPFile: []byte(pdp)}
	if routes != "" {
		files[config.RoutesFile] = []byte(routes)
	}
	var list []string
	for name, value := range environ {
		list = append(list, name+"="+value)
	}
	var err error
	if o.Config, err = config.LoadFiles("config", files, list); err != nil {
		t.Fatal(err)
	}
	return o
}

// openedWith is a gateway that is ready to serve; its background runs.
func openedWith(t testing.TB, o Options) *app {
	t.Helper()
	a := &app{config: o.Config, log: o.Log}
	t.Cleanup(func() { _ = a.resources.Close() })
	if err := a.open(t.Context(), o.Env); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.background())
	return a
}

// may asks as the gateway does.
func may(t testing.TB, a *app, who string) (bool, error) {
	t.Helper()
	ask, err := authz.Compile(authz.Mapping{Resource: "note", Action: "read"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.resources.authorizing.enforcer.Decide(t.Context(), &principal.Principal{Provider: "main", Subject: who}, ask, nothing{}, authz.Circumstances{Address: netip.MustParseAddr("127.0.0.1")})
	return v.Allow, err
}

// nothing is a request without facts.
type nothing struct{}

func (nothing) Param(string) (string, bool) { return "", false }
func (nothing) RawQuery() string            { return "" }
func (nothing) Body() ([]byte, error)       { return nil, errors.New("none") }

const bearerPDP = "connection: {base_url: \"%s\", credentials: {method: bearer, token: \"file:%s\"}}\ncache: {ttl_allow: 1h, ttl_deny: 1h}\n"

func pdpYAML(form string, words ...string) string {
	for _, w := range words {
		form = strings.Replace(form, "%s", w, 1)
	}
	return form
}

// handIn replaces a file as mounts do.
func handIn(t testing.TB, path, value string) {
	t.Helper()
	leakhunt.Secret(t, "a handed-in value", value)
	if err := os.WriteFile(path+".next", []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// The secret for the decision point turns like every other: the new value is proved
// there first, and is in use without a restart; nobody is refused meanwhile.
func TestPDPSecretTurns(t *testing.T) {
	const first, second = "pdp-token-0123456789-first", "pdp-token-0123456789-second"
	server := startPoint(t, first)
	path := filepath.Join(t.TempDir(), "pdp-token")
	handIn(t, path, first)
	a := openedWith(t, withPDP(t, env(t, nil), managed+"rotation: {poll: 1s}\n", "", pdpYAML(bearerPDP, server.URL, path)+"\n"))
	was := a.current.Load().rings[namePDPSecret].Active().ID
	who := 0
	asks := func() {
		t.Helper()
		who++
		if ok, err := may(t, a, "ada"+string(rune('a'+who%26))+time.Now().String()); !ok || err != nil {
			t.Fatalf("somebody was refused: %v", err)
		}
	}
	asks()
	handIn(t, path, second)
	until(t, "the new value waits for the decision point to know it", func() bool {
		asks()
		_, pending := a.current.Load().rings[namePDPSecret].Pending()
		return pending
	})
	server.set(func() { server.takes = []string{first, second} })
	until(t, "the new value is in use", func() bool {
		asks()
		return a.current.Load().rings[namePDPSecret].Active().ID != was
	})
	server.set(func() { server.takes = []string{second} })
	for range 20 {
		asks()
	}
}

// A decision point that refuses the new value after it took it: Keyway goes back by
// itself, and nobody is refused.
func TestPDPSecretRollsBack(t *testing.T) {
	const first, second = "pdp-token-0123456789-first", "pdp-token-0123456789-second"
	server := startPoint(t, first, second)
	path := filepath.Join(t.TempDir(), "pdp-token")
	handIn(t, path, first)
	a := openedWith(t, withPDP(t, env(t, nil), managed+"rotation: {poll: 1s}\n", "", pdpYAML(bearerPDP, server.URL, path)))
	was := a.current.Load().rings[namePDPSecret].Active().ID
	handIn(t, path, second)
	active := func() string { return a.current.Load().rings[namePDPSecret].Active().ID }
	until(t, "the new value is in use", func() bool { return active() != was })
	server.set(func() { server.takes = []string{first} })
	until(t, "it is rolled back", func() bool {
		if ok, err := may(t, a, time.Now().String()); !ok || err != nil {
			t.Fatalf("somebody was refused meanwhile: %v", err)
		}
		return active() == was
	})
}

// Whoever says that policies have changed is believed everywhere within a second.
func TestPoliciesChangedEverywhere(t *testing.T) {
	threat.Covers(t, 49)
	server := startPoint(t)
	redis := redisserver.Start(t)
	shared := map[string]string{"REDIS_URL": redis.URL(), "TOKEN_HASH_SALT": goodSalt}
	pdp := pdpYAML("connection: {base_url: \"%s\"}\ncache: {ttl_allow: 1h, ttl_deny: 1h}\n", server.URL)
	one := start(t, withPDP(t, env(t, shared), managed, "", pdp))
	two := openedWith(t, withPDP(t, env(t, shared), managed, "", pdp))
	if ok, err := may(t, two, "ada"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	server.set(func() { server.allow = false })
	if ok, _ := may(t, two, "ada"); !ok || server.questions() != 1 {
		t.Fatal("it does not remember")
	}
	until(t, "it has looked once", func() bool {
		two.policies.mu.Lock()
		defer two.policies.mu.Unlock()
		return two.policies.known
	})
	answer, err := client(t).Post(one.Admin+"/admin/v1/policies/changed", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		t.Fatal(answer.Status)
	}
	began := time.Now()
	until(t, "the other replica asks anew", func() bool { ok, _ := may(t, two, "ada"); return !ok })
	if took := time.Since(began); took > 3*time.Second { // one second, and a busy machine
		t.Errorf("it took %v", took)
	}
	until(t, "it is in the record", func() bool { return has(recordOf(t, one.Admin), `"type":"policies.changed"`, `"actor"`) })
}

// A word that was lost costs the time until the next look, and a store that lost its
// data is a change, too.
func TestPoliciesChangedIsSeenWithoutAWord(t *testing.T) {
	server := startPoint(t)
	a := openedWith(t, withPDP(t, env(t, nil), managed, "", pdpYAML("connection: {base_url: \"%s\"}\n", server.URL)))
	other := newPolicies(a) // as of another replica
	other.look(t.Context())
	changed := a.resources.authorizing.enforcer.Changed()
	other.look(t.Context())
	select {
	case <-changed:
		t.Fatal("nobody has said anything")
	default:
	}
	if err := a.policies.Changed(t.Context(), "somebody"); err != nil {
		t.Fatal(err)
	}
	changed = a.resources.authorizing.enforcer.Changed()
	other.look(t.Context())
	select {
	case <-changed:
	default:
		t.Error("it was not seen")
	}
}

// Without a decision point there is nothing to say.
func TestPoliciesChangedWithoutADecisionPoint(t *testing.T) {
	r := start(t, options(t, env(t, nil), managed, ""))
	answer, err := client(t).Post(r.Admin+"/admin/v1/policies/changed", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusNotFound {
		t.Error(answer.Status)
	}
}

func writePolicies(t testing.TB, folder, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, "notes.cedar"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Policies in a folder are looked at again; what is broken is not taken.
func TestPoliciesInAFolder(t *testing.T) {
	threat.Covers(t, 49)
	folder := t.TempDir()
	writePolicies(t, folder, `permit (principal, action, resource);`)
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	var log logbuffer.Buffer
	o := withPDP(t, env(t, nil), managed, "", "policies: "+folder+"\ncache: {ttl_allow: 1h, ttl_deny: 1h}\n")
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	a := openedWith(t, o)
	if ok, err := may(t, a, "ada"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if !strings.Contains(log.String(), "everybody on this machine can write policies") {
		t.Error("who may write there decides, and nobody is told that all may")
	}
	if !strings.Contains(log.String(), `msg="policies in use" policies=1`) {
		t.Error("how many there are at the start is not told")
	}
	writePolicies(t, folder, `permit (principal, action`)
	until(t, "what is broken is told", func() bool { return strings.Contains(log.String(), "can't be used") })
	if ok, _ := may(t, a, "grace"); !ok {
		t.Error("those before are not in use any more")
	}
	writePolicies(t, folder, `forbid (principal, action, resource);`)
	until(t, "the new ones decide, also what was remembered", func() bool { ok, _ := may(t, a, "ada"); return !ok })
	until(t, "they can be used again", func() bool { return strings.Contains(log.String(), "the policies can be used again") })
	away := folder + ".away"
	if err := os.Rename(folder, away); err != nil {
		t.Fatal(err)
	}
	until(t, "it is gone", func() bool { return strings.Contains(log.String(), "the policies can't be read") })
	if err := os.Rename(away, folder); err != nil {
		t.Fatal(err)
	}
	until(t, "it is back", func() bool {
		return strings.Contains(log.String(), "the policies can be read again, and are those in use")
	})
	writePolicies(t, folder, "// none")
	until(t, "nothing is permitted any more", func() bool { return strings.Contains(log.String(), "nothing is permitted, and each route") })
	var b strings.Builder
	for _, line := range strings.Split(metricsText(t, a), "\n") {
		if strings.HasPrefix(line, "bff_policies_reloads_total") {
			b.WriteString(line + "\n")
		}
	}
	if !strings.Contains(b.String(), `{outcome="refused"} 2`) || !strings.Contains(b.String(), `{outcome="taken"} 2`) {
		t.Error(b.String())
	}
}

func metricsText(t testing.TB, a *app) string {
	t.Helper()
	w := httptest.NewRecorder()
	a.resources.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// A start with policies that can't be used is refused, and says where what is wrong.
func TestABrokenPolicyRefusesTheStart(t *testing.T) {
	folder := t.TempDir()
	writePolicies(t, folder, "permit (principal, action, resource)\nwhen { nonsense };")
	o := withPDP(t, env(t, nil), managed, "", "policies: "+folder+"\n")
	a := &app{config: o.Config, log: o.Log}
	defer a.resources.Close()
	err := a.open(t.Context(), o.Env)
	if _, ok := errors.AsType[*cedar.Error](err); !ok || !strings.Contains(err.Error(), "notes.cedar") || !strings.Contains(err.Error(), "config/pdp.yaml:1:11: policies in ") {
		t.Fatalf("%v", err)
	}
}

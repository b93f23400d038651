package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/audit"
	"keyway/internal/authz"
	"keyway/internal/config"
	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/testkit/leakhunt"
	"keyway/internal/testkit/logbuffer"
	"keyway/internal/threat"
)

// decidedWorld is an IdP, an API, and a gateway between the two that asks a decision
// point.
type decidedWorld struct {
	provider *idptest.Server
	gateway  *running
	log      *logbuffer.Buffer
	browser  *idptest.Browser
}

func startDecided(t *testing.T, pdp, settings string, changes map[string]string) *decidedWorld {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	free.Close()
	const clientSecret = "a-client-secret-of-the-test"
	leakhunt.Secret(t, "the client secret", clientSecret)
	w := &decidedWorld{log: &logbuffer.Buffer{}, browser: idptest.NewBrowser(nil)}
	w.provider = idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{clientSecret}, AuthMethods: []string{idp.AuthSecretBasic},
		GrantTypes:   []string{idp.GrantCode, idp.GrantRefresh, idp.GrantClientCredentials},
		RedirectURIs: []string{"http://" + at + "/auth/callback"}, Scopes: []string{"openid", "profile", "email"},
	}}})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the note") }))
	t.Cleanup(api.Close)
	environ := env(t, map[string]string{
		"PORT": port, "BFF_COOKIE_SECURE": "false", "OIDC_ISSUER": w.provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": clientSecret,
		"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": "http://" + at + "/auth/callback",
	})
	var list []string
	for name, value := range changes {
		environ[name] = value
	}
	for name, value := range environ {
		list = append(list, name+"="+value)
	}
	o := Options{
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Env: func(name string) (string, bool) { value, ok := environ[name]; return value, ok },
	}
	o.Config, err = config.LoadFiles("config", map[string][]byte{
		config.SettingsFile: []byte(managed + settings),
		config.RoutesFile: []byte("services: {api: {base_url: \"" + api.URL + "\"}}\nroutes:\n" +
			"  - {id: open, path: /open, target_service: api, auth: session}\n" +
			"  - {id: note, path: \"/notes/{id}\", target_service: api, auth: session, authz: pdp, methods: [GET], authz_map: {GET: {resource: note, action: read, id_from: \"{id}\"}}}\n"),
		config.IdPsFile: []byte("idps: [{name: main, issuer: \"" + w.provider.URL + "\", claims_mapping: {roles: [{source: roles}]}}]\n"),
		config.PDPFile:  []byte(pdp),
	}, list)
	if err != nil {
		t.Fatal(err)
	}
	w.gateway = start(t, o)
	return w
}

func (w *decidedWorld) signIn(t *testing.T, who string) {
	t.Helper()
	page, err := w.browser.SignIn(t.Context(), w.gateway.Public+"/auth/login?return_to=/open", who, "demo")
	if err != nil || page.Status != http.StatusOK {
		t.Fatalf("%v %+v", err, page)
	}
}

func (w *decidedWorld) get(t *testing.T, path string, want int) string {
	t.Helper()
	page, err := w.browser.Get(t.Context(), w.gateway.Public+path)
	if err != nil || page.Status != want {
		t.Fatalf("%s: %v %d, want %d: %s", path, err, page.Status, want, page.Body)
	}
	return string(page.Body)
}

// asking is a decision point that keeps what it was asked.
type asking struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []authz.Question
	traces []string
	allow  func(authz.Question) bool
	bearer func(string) bool // nil: whatever comes
}

func startAsking(t *testing.T) *asking {
	p := &asking{allow: func(authz.Question) bool { return true }}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q authz.Question
		body, _ := io.ReadAll(r.Body)
		leakhunt.Written("what the decision point is asked", body)
		p.mu.Lock()
		defer p.mu.Unlock()
		if token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); p.bearer != nil && !p.bearer(token) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if json.Unmarshal(body, &q) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		p.asked, p.traces = append(p.asked, q), append(p.traces, r.Header.Get("Traceparent"))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"decision": p.allow(q), "context": map[string]any{"reason": "because", "obligations": []string{"mask"}}})
	}))
	t.Cleanup(p.Close)
	return p
}

// receiver takes security event tokens (RFC 8935).
func receiver(t *testing.T) (url string, got func() []string) {
	var mu sync.Mutex
	var all []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, payloadOf(string(body)))
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// payloadOf is what a compact JWS says.
func payloadOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return string(payload)
}

// Each decision is counted, and told to the receivers of the record: what, about
// whom, why. The record itself has none. The decision point is told of the trace.
func TestDecisionsAreToldAndCounted(t *testing.T) {
	threat.Covers(t, 49)
	pdp := startAsking(t)
	pdp.allow = func(q authz.Question) bool { return q.Resource.ID == "1" }
	sink, got := receiver(t)
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer collector.Close()
	w := startDecided(t, "connection: {base_url: \""+pdp.URL+"\"}\n", "audit: {push: {url: \""+sink+"\", audience: test}}\n", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL})
	w.signIn(t, "ada")
	w.get(t, "/notes/1", 200)
	w.get(t, "/notes/1", 200)
	if body := w.get(t, "/notes/2", 403); strings.Contains(body, "because") {
		t.Errorf("the caller is told why: %s", body)
	}
	w.get(t, "/open", 200) // still signed in
	pdp.mu.Lock()
	if len(pdp.asked) != 2 {
		t.Errorf("asked %d times", len(pdp.asked))
	} else if roles, _ := pdp.asked[0].Subject.Properties["roles"].([]any); len(roles) == 0 {
		t.Errorf("nothing of ada's roles: %+v", pdp.asked[0].Subject)
	}
	for _, trace := range pdp.traces {
		if len(trace) != 55 { // W3C Trace Context section 3.2
			t.Errorf("traceparent: %q", trace)
		}
	}
	pdp.mu.Unlock()
	_, text := get(client(t), w.gateway.Admin+"/metrics")
	for _, want := range []string{
		`bff_authz_requests_total{action="read",decision="allow",resource="note"} 2`,
		`bff_authz_requests_total{action="read",decision="deny",resource="note"} 1`,
		`bff_authz_requests_total{action="read",decision="error",resource="note"} 0`,
		`bff_authz_latency_seconds_count{resource="note"} 3`,
		`bff_pdp_requests_total{endpoint="evaluation",status="200"} 2`,
		`bff_authz_events_dropped_total 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %s", want)
		}
	}
	of := func() (decisions []string) {
		for _, event := range got() {
			if strings.Contains(event, audit.TypeDecision) {
				decisions = append(decisions, event)
			}
		}
		return decisions
	}
	until(t, "three are told", func() bool { return len(of()) == 3 })
	all := strings.Join(of(), "\n")
	for _, want := range []string{`"decision":"deny"`, `"id":"2"`, `"cached":true`, `"route":"note"`, `"reason":"because"`, `"obligations":["mask"]`, `"principal":"auth:account:`, `"roles":2`} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in %s", want, all)
		}
	}
	if has(recordOf(t, w.gateway.Admin), audit.TypeDecision) {
		t.Error("decisions are in the record")
	}
	if err := w.gateway.stop(t); err != nil {
		t.Error(err)
	}
}

// A stop tells what waits.
func TestDecisionsOfTheLastMomentAreTold(t *testing.T) {
	pdp := startAsking(t)
	sink, got := receiver(t)
	w := startDecided(t, "connection: {base_url: \""+pdp.URL+"\"}\n", "authz: {events: denied}\naudit: {push: {url: \""+sink+"\", audience: test}}\n", nil)
	w.signIn(t, "ada")
	w.get(t, "/notes/1", 200)
	pdp.Close()
	for _, id := range []string{"2", "3", "4", "5"} {
		w.get(t, "/notes/"+id, 403)
	}
	if err := w.gateway.stop(t); err != nil {
		t.Error(err)
	}
	n := 0
	for _, event := range got() {
		if strings.Contains(event, audit.TypeDecision) {
			n++
			if !strings.Contains(event, `"decision":"error"`) {
				t.Errorf("told, though only denials are: %s", event)
			}
		}
	}
	if n != 4 {
		t.Errorf("%d told", n)
	}
}

// The kill switch lets everybody who is signed in pass, and says so where operators
// look.
func TestDecisionsAreSwitchedOff(t *testing.T) {
	threat.Covers(t, 47)
	pdp := startAsking(t)
	pdp.allow = func(authz.Question) bool { return false }
	w := startDecided(t, "connection: {base_url: \""+pdp.URL+"\"}\n", "", map[string]string{"MS_BFF_AUTHZ_ENABLED": "false"})
	w.signIn(t, "grace")
	w.get(t, "/notes/1", 200)
	if !strings.Contains(w.log.String(), "switched OFF") {
		t.Error("the log does not say so")
	}
	if _, body := get(client(t), w.gateway.Admin+"/admin/v1/status"); !strings.Contains(body, "switched OFF") {
		t.Errorf("the status does not say so: %s", body)
	}
	if page, err := idptest.NewBrowser(nil).Get(t.Context(), w.gateway.Public+"/notes/1"); err != nil || page.Status != 401 {
		t.Errorf("who is not signed in: %v %d", err, page.Status)
	}
}

// By client credentials: a token is had once, and a new one when it is refused.
func TestPDPClientCredentials(t *testing.T) {
	const secretValue = "a-client-secret-of-the-test"
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{secretValue}, GrantTypes: []string{idp.GrantClientCredentials}, AuthMethods: []string{idp.AuthSecretBasic}, Scopes: []string{"profile"},
	}}})
	var mu sync.Mutex
	seen := map[string]bool{}
	revoked := ""
	pdp := startAsking(t)
	pdp.bearer = func(token string) bool {
		mu.Lock()
		defer mu.Unlock()
		if token == "" || token == revoked {
			return false
		}
		seen[token] = true
		return true
	}
	path := t.TempDir() + "/pdp-secret"
	handIn(t, path, secretValue)
	o := withPDP(t, env(t, nil), managed, "", "connection: {base_url: \""+pdp.URL+"\", credentials: {method: client_credentials, client_id: gateway, client_secret: \"file:"+path+
		"\", token_url: \""+provider.URL+"/token"+"\", scopes: [profile]}}\ncache: {max_size: 0}\n")
	a := openedWith(t, o)
	for range 3 {
		if ok, err := may(t, a, "ada"); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	mu.Lock()
	if len(seen) != 1 {
		t.Errorf("%d tokens for three questions", len(seen))
	}
	for token := range seen {
		revoked = token
	}
	mu.Unlock()
	if ok, err := may(t, a, "ada"); !ok || err != nil {
		t.Fatalf("a token that was revoked was not replaced: %v", err)
	}
	ring := a.current.Load().rings[namePDPSecret]
	if verdict, err := a.resources.authorizing.remote.prove(t.Context(), ring.Active().ID); verdict != "accepted" || err != nil {
		t.Errorf("%s %v", verdict, err)
	}
	wrong, err := ring.Accept(keyring.Candidate{ID: "wrong", Value: secret.NewValue([]byte("another-value-of-the-test"))}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := *a.current.Load()
	s.rings = s.rings.with(wrong)
	before := a.current.Swap(&s)
	verdict, err := a.resources.authorizing.remote.prove(context.Background(), "wrong")
	a.current.Store(before)
	if verdict != "refused" || err != nil {
		t.Errorf("%s %v", verdict, err)
	}
}

package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/admin"
	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/rotation"
	"keyway/internal/secret"
)

// Names of secrets, as the admin API has them.
const (
	clientSecretName  = "client-secret"
	signingKeyName    = "signing-key"
	sessionKeyName    = "session-key"
	tokenHashSaltName = "token-hash-salt"
	csrfKeyName       = "csrf-key"
	stateKeyName      = "state-key"
)

// quick has secrets turn in seconds.
const quick = "rotation: {guard: 2s, skew: 100ms, poll: 1s}\n"

// settle gives the world a settings.yaml.
func (w *world) settle(t testing.TB, settings string) {
	t.Helper()
	dir := folderWith(t, "routes.yaml", routes(w.API.URL))
	write(t, filepath.Join(dir, "settings.yaml"), settings)
	w.Env["BFF_CONFIG_DIR"] = dir
}

// atDemo makes a world at the demo's provider, which runs in this process and does
// as it is told: it knows several client secrets, or none, and it lies.
func atDemo(t testing.TB, method string, o idp.Options) (*world, *idptest.Server) {
	t.Helper()
	w := newWorld(t, setup{Method: method, Late: true})
	client := idp.Client{ID: clientID, AuthMethods: []string{method}, RedirectURIs: []string{w.Env["BFF_CALLBACK_URL"]}}
	if method == "private_key_jwt" {
		client.JWKSURI = strings.TrimSuffix(w.Env["BFF_CALLBACK_URL"], "/auth/callback") + "/.well-known/jwks.json"
	} else {
		client.Secrets = []string{w.Env["AUTH_CLIENT_SECRET"]}
	}
	o.Clients = []idp.Client{client}
	demo := idptest.Start(t, o)
	w.Env["OIDC_ISSUER"] = demo.URL
	w.settle(t, quick)
	return w, demo
}

// enter is a new browser in which ada is signed in.
func (w *world) enter(t testing.TB, p *Process) *Browser {
	t.Helper()
	b := w.browser(p)
	if a := b.SignIn(t, "ada", "/api/notes"); a.StatusCode != 303 {
		t.Fatalf("callback: %s %s; the gateway said:\n%s", a.Status, a.Text, p.Output())
	}
	return b
}

// inFile moves a secret from the environment into a file that NAME_FILE names, and
// answers with its path.
func (w *world) inFile(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), strings.ToLower(name))
	write(t, path, w.Env[name])
	w.Env[name+"_FILE"] = path
	delete(w.Env, name)
	return path
}

// fresh is a new value of a secret, of which the ledger knows.
func (w *world) fresh(name string) string {
	value := rand.Text() + rand.Text()
	w.ledger.add("a newer "+name, value)
	return value
}

// write replaces a file as a whole, by rename.
func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".next", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// mount is a folder of secrets as Kubernetes has it: what is in it are symlinks
// into ..data, which is one itself, and is swapped as a whole.
type mount struct {
	dir  string
	days int
}

func newMount(t testing.TB, values map[string]string) *mount {
	t.Helper()
	m := &mount{dir: t.TempDir()}
	m.swap(t, values)
	for name := range values {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

func (m *mount) swap(t testing.TB, values map[string]string) {
	t.Helper()
	m.days++
	day := fmt.Sprintf("..2026_%d", m.days)
	if err := os.Mkdir(filepath.Join(m.dir, day), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, value := range values {
		write(t, filepath.Join(m.dir, day, name), value)
	}
	next := filepath.Join(m.dir, "..data_tmp")
	if err := os.Symlink(day, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(m.dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if m.days > 1 {
		if err := os.RemoveAll(filepath.Join(m.dir, fmt.Sprintf("..2026_%d", m.days-1))); err != nil {
			t.Fatal(err)
		}
	}
}

// operate sends a request to the admin API.
func operate(t testing.TB, p *Process, method, path string, ask any) Answer {
	t.Helper()
	body := ""
	if ask != nil {
		text, err := json.Marshal(ask)
		if err != nil {
			t.Fatal(err)
		}
		body = string(text)
	}
	return NewBrowser(p.AdminURL).Do(t, method, path, body, "Content-Type", "application/json")
}

// ask asks for rotations, and does not wait.
func ask(t testing.TB, p *Process, compromised bool, secrets ...string) []rotation.Rotation {
	t.Helper()
	a := operate(t, p, "POST", "/admin/v1/rotations", map[string]any{"secrets": secrets, "compromised": compromised})
	wantStatus(t, a, 202)
	return rotationsOf(t, a)
}

func rotationsOf(t testing.TB, a Answer) []rotation.Rotation {
	t.Helper()
	var got struct{ Rotations []rotation.Rotation }
	if err := json.Unmarshal([]byte(a.Text), &got); err != nil {
		t.Fatalf("%v in %s", err, a.Text)
	}
	return got.Rotations
}

// rotate has secrets rotated, and waits until their new versions are in use.
func rotate(t testing.TB, p *Process, compromised bool, secrets ...string) {
	t.Helper()
	await(t, p, ask(t, p, compromised, secrets...))
}

// await waits until the new versions are in use, also at the gateway that is asked:
// a replica follows what the fleet has decided a moment later.
func await(t testing.TB, p *Process, asked []rotation.Rotation) {
	t.Helper()
	query := url.Values{"wait": {"25"}}
	for _, r := range asked {
		query.Add("id", r.ID)
	}
	a := operate(t, p, "GET", "/admin/v1/rotations?"+query.Encode(), nil)
	wantStatus(t, a, 200)
	for _, r := range rotationsOf(t, a) {
		if r.Outcome != rotation.OutcomeActive {
			t.Fatalf("rotation of %s: outcome %q after 25 s: %+v\nthe gateway said:\n%s", r.Secret, r.Outcome, r, p.Output())
		}
		soon(t, r.Secret+" is in use at "+p.URL, func() bool { return statusOf(t, p, r.Secret).Active == r.To })
	}
}

// soon is eventually for what costs a gateway something to say, and for machines
// that run everything else, too.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); {
		if ok() {
			return
		}
		time.Sleep(60 * time.Millisecond)
	}
	t.Fatalf("waited too long until %s", what)
}

// statusOf is what the admin API says of a secret.
func statusOf(t testing.TB, p *Process, name string) admin.SecretStatus {
	t.Helper()
	for _, s := range fleetOf(t, p).Secrets {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no %s in the status", name)
	return admin.SecretStatus{}
}

func fleetOf(t testing.TB, p *Process) admin.Status {
	t.Helper()
	a := operate(t, p, "GET", "/admin/v1/status", nil)
	wantStatus(t, a, 200)
	var s admin.Status
	if err := json.Unmarshal([]byte(a.Text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// said is everything that the status says to people about a secret.
func said(s admin.SecretStatus) string {
	all := []string{s.Waiting, s.Operator, s.Trouble}
	if s.Rotation != nil {
		all = append(all, s.Rotation.Outcome, s.Rotation.Waiting)
		for _, step := range s.Rotation.Steps {
			all = append(all, step.What+" "+step.Detail)
		}
	}
	return strings.Join(all, "; ")
}

func version(s admin.SecretStatus, id string) admin.VersionStatus {
	for _, v := range s.Versions {
		if v.ID == id {
			return v
		}
	}
	return admin.VersionStatus{}
}

// awaitActive waits until every gateway has another version in use than before,
// the same one, and answers with it.
func awaitActive(t testing.TB, name, before string, gateways ...*Process) string {
	t.Helper()
	now := ""
	soon(t, "a new version of "+name+" is in use everywhere", func() bool {
		now = statusOf(t, gateways[0], name).Active
		for _, p := range gateways[1:] {
			if statusOf(t, p, name).Active != now {
				return false
			}
		}
		return now != before
	})
	return now
}

// awaitState waits until a version is in a state.
func awaitState(t testing.TB, p *Process, name, id, state string) {
	t.Helper()
	soon(t, name+" "+id+" is "+state, func() bool { return version(statusOf(t, p, name), id).State == state })
}

// fingerprint is the id of a value that is handed in.
func fingerprint(name, value string) string {
	if strings.HasPrefix(name, clientSecretName) {
		return secret.FingerprintOfPeerSecret(name, secret.NewValue([]byte(value)))
	}
	return secret.Fingerprint(name, secret.NewValue([]byte(value)))
}

// clientAuths is bff_client_auth_total for a version, by outcome.
func clientAuths(t testing.TB, p *Process, id, outcome string) int {
	t.Helper()
	text := NewBrowser(p.AdminURL).Get(t, "/metrics").Text
	sum := 0
	for _, m := range regexp.MustCompile(`(?m)^bff_client_auth_total\{(.*)\} (\d+)$`).FindAllStringSubmatch(text, -1) {
		if (id == "" || strings.Contains(m[1], `version="`+id+`"`)) && strings.Contains(m[1], `outcome="`+outcome+`"`) {
			n, _ := strconv.Atoi(m[2])
			sum += n
		}
	}
	return sum
}

// shift is users at work: each reads and writes at one replica after the other,
// with the CSRF token that it has, and looks whether it is still signed in. What
// is not as it should be is noted.
type shift struct {
	stop chan struct{}
	all  sync.WaitGroup

	mu       sync.Mutex
	requests map[int]int // by status
	wrong    []string
}

// work begins a shift. Statuses that are borne (503 while Redis is away) are in
// borne.
func (w *world) work(t testing.TB, users []*Browser, gateways []*Process, borne ...int) *shift {
	t.Helper()
	s := &shift{stop: make(chan struct{}), requests: map[int]int{}}
	for _, b := range users {
		csrf := b.At(gateways[0].URL).CSRF(t)
		s.all.Go(func() {
			for i := 0; ; i++ {
				at := b.At(gateways[i%len(gateways)].URL)
				a, err := at.Try("GET", "/api/notes", "")
				s.note(a, err, 200, borne)
				a, err = at.Try("POST", "/api/notes", `{"text":"x"}`, "Content-Type", "application/json", "X-CSRF-Token", csrf)
				s.note(a, err, 201, borne)
				if a, err = at.Try("GET", "/auth/session", ""); err == nil && a.StatusCode == 200 && !strings.Contains(a.Text, `"authenticated":true`) {
					s.amiss("signed out: " + a.Text)
				} else {
					s.note(a, err, 200, borne)
				}
				select {
				case <-s.stop:
					return
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
	t.Cleanup(func() { s.leave() })
	return s
}

func (s *shift) note(a Answer, err error, want int, borne []int) {
	if err != nil {
		s.amiss(err.Error())
		return
	}
	s.mu.Lock()
	s.requests[a.StatusCode]++
	s.mu.Unlock()
	if a.StatusCode != want && !slices.Contains(borne, a.StatusCode) {
		s.amiss(fmt.Sprintf("%s %s at %s: %s %s", a.Request.Method, a.Request.URL.Path, a.Request.URL.Host, a.Status, a.Text))
	}
}

func (s *shift) amiss(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, time.Now().Format("15:04:05.000 ")+what)
}

func (s *shift) leave() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.all.Wait()
}

// end ends a shift, and fails the test if a user has noticed anything.
func (s *shift) end(t testing.TB) {
	t.Helper()
	s.leave()
	total := 0
	for n := range maps.Values(s.requests) {
		total += n
	}
	if len(s.wrong) > 0 || total == 0 {
		t.Errorf("%d of %d requests of users went wrong: %s", len(s.wrong), total, strings.Join(s.wrong[:min(5, len(s.wrong))], "\n"))
	}
	t.Logf("requests of users: %v", s.requests)
}

// clientAssertion is what a request to a provider authenticates us with, or empty; the
// body can be read again.
func clientAssertion(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	return form.Get("client_assertion")
}

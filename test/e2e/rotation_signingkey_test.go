package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/realidp"
	"keyway/internal/threat"

	"github.com/go-jose/go-jose/v4"
)

// A provider that we did not write fetches our keys by itself, keeps them for a
// while, and does not look again for a key that it does not know. The signing key
// is rotated under sign-ins and refreshes, changes its algorithm, and is made by a
// job beside the gateway.
func TestRotationSigningKey(t *testing.T) {
	threat.Covers(t, 54, 56)
	t.Parallel()
	w := newWorld(t, setup{Method: "private_key_jwt", IdP: realidp.Options{AccessTokenTTL: 2 * time.Second}})
	w.settle(t, quick)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	gateway := w.serve(t, nil)
	b := w.enter(t, gateway)
	keepKeys(t, w.IdP, 2*time.Second)
	keys := pollKeys(t, gateway)
	users := w.work(t, []*Browser{b}, []*Process{gateway})
	at := statusOf(t, gateway, signingKeyName).Active

	for i := range 3 {
		t.Run(fmt.Sprintf("turn %d", i+1), func(t *testing.T) {
			asked := ask(t, gateway, false, signingKeyName)
			w.enter(t, gateway)
			await(t, gateway, asked)
			w.enter(t, gateway)
			at = newKeyIn(t, gateway, at)
		})
	}
	t.Run("by a job beside the gateway", func(t *testing.T) {
		code, out := Run(t, Env{"BFF_KEYS_DIR": gateway.Env["BFF_KEYS_DIR"], "BFF_CONFIG_DIR": w.Env["BFF_CONFIG_DIR"]}, "rotate-keys")
		if code != 0 || !strings.Contains(out, "Made the next signing key") {
			t.Fatalf("rotate-keys: exit code %d: %s", code, out)
		}
		awaitActive(t, signingKeyName, at, gateway)
		w.enter(t, gateway)
		at = newKeyIn(t, gateway, at)
	})
	t.Run("another algorithm", func(t *testing.T) {
		if got := algorithm(t, gateway, at); got != "ES256" && got != "EdDSA" {
			t.Errorf("the key before is for %s", got)
		}
		users.end(t) // the only gateway is started again
		keys.end(t)
		w.settle(t, quick+"signing_key: {algorithm: PS256}\n")
		gateway.Terminate(t)
		gateway.Env["BFF_CONFIG_DIR"] = w.Env["BFF_CONFIG_DIR"]
		gateway = w.keep(gateway.Again(t))
		if got := statusOf(t, gateway, signingKeyName).Active; got != at {
			t.Errorf("the restart alone has turned it: %s", got)
		}
		keys, users = pollKeys(t, gateway), w.work(t, []*Browser{b}, []*Process{gateway})
		rotate(t, gateway, false, signingKeyName)
		at = newKeyIn(t, gateway, at)
		if got := algorithm(t, gateway, at); got != "PS256" {
			t.Errorf("the key is for %s", got)
		}
		w.enter(t, gateway)
	})
	users.end(t)
	keys.end(t)

	signed := map[string]bool{}
	for _, path := range []string{"/token", "/request"} {
		for _, r := range w.IdP.Requests(t, path) {
			kid := kidOf(t, r.Body["client_assertion"])
			signed[kid] = true
			if r.Status == http.StatusUnauthorized {
				t.Errorf("%s: the provider refused an assertion by %s", path, kid)
			}
			if !keys.seen(kid) {
				t.Errorf("signed with %s, which was never published", kid)
			}
		}
	}
	if len(signed) != 6 {
		t.Errorf("signed with %d keys, want 6", len(signed))
	}
}

// newKeyIn is the active version, which must be another than before; that one is
// still published.
func newKeyIn(t testing.TB, p *Process, before string) string {
	t.Helper()
	s := statusOf(t, p, signingKeyName)
	if s.Active == before {
		t.Fatalf("still %s: %s", before, said(s))
	}
	if algorithm(t, p, before) == "" {
		t.Errorf("%s is not published any more", before)
	}
	return s.Active
}

// keepKeys shortens the minute for which oidc-provider keeps a client's keys.
func keepKeys(t testing.TB, p *realidp.Server, d time.Duration) {
	t.Helper()
	resp, err := http.PostForm(p.Issuer+"/test/jwks-keep", url.Values{"client_id": {clientID}, "seconds": {strconv.Itoa(int(d.Seconds()))}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("how long the client's keys are kept: %s", resp.Status)
	}
}

func kidOf(t testing.TB, assertion string) string {
	t.Helper()
	head, _, _ := strings.Cut(assertion, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	var header struct{ Kid string }
	if err == nil {
		err = json.Unmarshal(text, &header)
	}
	if err != nil || header.Kid == "" {
		t.Fatalf("an assertion without a kid: %s (%v)", text, err)
	}
	return header.Kid
}

// published is what /.well-known/jwks.json says.
func published(t testing.TB, p *Process) []map[string]any {
	t.Helper()
	set, err := parseSet(NewBrowser(p.URL).Get(t, "/.well-known/jwks.json"))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var maxAge = regexp.MustCompile(`max-age=(\d+)`)

// parseSet reads a key set, and refuses one that must never be seen.
func parseSet(a Answer) ([]map[string]any, error) {
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(a.Text), &set); err != nil || a.StatusCode != 200 || len(set.Keys) == 0 {
		return nil, fmt.Errorf("%s with %q (%v)", a.Status, a.Text, err)
	}
	for _, k := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if k[private] != nil {
				return nil, fmt.Errorf("%v has the private member %s", k["kid"], private)
			}
		}
	}
	age := maxAge.FindStringSubmatch(a.Header.Get("Cache-Control"))
	if age == nil {
		return nil, fmt.Errorf("Cache-Control: %q", a.Header.Get("Cache-Control"))
	}
	if seconds, _ := strconv.Atoi(age[1]); seconds > 300 {
		return nil, fmt.Errorf("kept for %d s", seconds)
	}
	return set.Keys, nil
}

// algorithm is that of a published key; empty if it is not published.
func algorithm(t testing.TB, p *Process, kid string) string {
	t.Helper()
	for _, k := range published(t, p) {
		if k["kid"] == kid {
			alg, _ := k["alg"].(string)
			return alg
		}
	}
	return ""
}

// keyPoll looks at the published keys all the time.
type keyPoll struct {
	stop  chan struct{}
	done  sync.WaitGroup
	mu    sync.Mutex
	looks int
	ever  map[string]bool
	now   []string
	wrong []string
}

func pollKeys(t testing.TB, p *Process) *keyPoll {
	t.Helper()
	k := &keyPoll{stop: make(chan struct{}), ever: map[string]bool{}}
	b := NewBrowser(p.URL)
	k.done.Go(func() {
		for {
			a, err := b.Try("GET", "/.well-known/jwks.json", "")
			if err != nil {
				k.amiss(err.Error())
			} else {
				k.look(a)
			}
			select {
			case <-k.stop:
				return
			case <-time.After(30 * time.Millisecond):
			}
		}
	})
	t.Cleanup(k.leave)
	return k
}

func (k *keyPoll) look(a Answer) {
	keys, err := parseSet(a)
	if err != nil {
		k.amiss(err.Error())
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looks++
	var now []string
	for _, key := range keys {
		kid := fmt.Sprint(key["kid"])
		if k.ever[kid] && !slices.Contains(k.now, kid) {
			k.wrong = append(k.wrong, kid+" was away for a while")
		}
		now = append(now, kid)
		k.ever[kid] = true
	}
	k.now = now
}

func (k *keyPoll) amiss(what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wrong = append(k.wrong, what)
}

func (k *keyPoll) seen(kid string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ever[kid]
}

func (k *keyPoll) leave() {
	select {
	case <-k.stop:
	default:
		close(k.stop)
	}
	k.done.Wait()
}

func (k *keyPoll) end(t testing.TB) {
	t.Helper()
	k.leave()
	if len(k.wrong) > 0 || k.looks == 0 {
		t.Errorf("jwks.json, %d looks: %v", k.looks, k.wrong[:min(5, len(k.wrong))])
	}
}

// A provider that holds the key set itself: a person registers the new key there.
func signingKeyRegisteredByHand(t *testing.T) {
	threat.Covers(t, 54)
	w, demo := atDemo(t, "private_key_jwt", shortTokens)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	gateway := w.serve(t, nil)
	register(t, w, demo.Provider, gateway)
	users := w.work(t, []*Browser{w.enter(t, gateway)}, []*Process{gateway})
	before := statusOf(t, gateway, signingKeyName).Active

	asked := ask(t, gateway, false, signingKeyName)
	var text string
	soon(t, "the status says what to do", func() bool {
		text = said(statusOf(t, gateway, signingKeyName))
		return strings.Contains(text, "register the public key with kid "+asked[0].To)
	})
	if !strings.Contains(text, demo.URL) || !strings.Contains(text, "/.well-known/jwks.json") {
		t.Errorf("it says %q", text)
	}
	if got := statusOf(t, gateway, signingKeyName).Active; got != before {
		t.Errorf("in use before anybody had registered it: %s", got)
	}
	w.enter(t, gateway)
	register(t, w, demo.Provider, gateway)
	await(t, gateway, asked)
	w.enter(t, gateway)
	users.end(t)
}

// register has the demo's provider hold the published keys itself, but for those
// that are left out.
func register(t testing.TB, w *world, p *idp.Provider, gateway *Process, but ...string) {
	t.Helper()
	var set jose.JSONWebKeySet
	// A person looks, in a browser: nothing says that the provider fetches keys.
	page := NewBrowser(gateway.URL).Get(t, "/.well-known/jwks.json", "User-Agent", "Mozilla/5.0")
	if err := json.Unmarshal([]byte(page.Text), &set); err != nil {
		t.Fatal(err)
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(k jose.JSONWebKey) bool { return slices.Contains(but, k.KeyID) })
	err := p.PutClient(idp.Client{
		ID: clientID, AuthMethods: []string{"private_key_jwt"}, RedirectURIs: []string{w.Env["BFF_CALLBACK_URL"]}, JWKS: &set,
	})
	if err != nil {
		t.Fatal(err)
	}
}

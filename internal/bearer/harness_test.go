package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/seal"
	"keyway/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer = "https://id.example.com"
	ours   = "https://api.example.com"
)

// hasher is of a salt whose versions are named as states: the first is active.
func hasher(t testing.TB, states ...string) *seal.Hasher {
	t.Helper()
	var versions []keyring.Version
	for _, s := range states {
		id, state, _ := strings.Cut(s, "=")
		v := keyring.Version{ID: id, State: keyring.State(state)}
		if v.State.Live() {
			v.Value = secret.NewValue([]byte("salt " + id + " for tests, long enough for anybody"))
		}
		versions = append(versions, v)
	}
	ring, err := keyring.New("token-hash-salt", versions...)
	if err != nil {
		t.Fatal(err)
	}
	h, err := seal.NewHasher(ring, "introspection")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newCache(t testing.TB) *Cache {
	c := NewCache(0)
	t.Cleanup(c.Close)
	return c
}

func authenticator(t testing.TB, o Options) *Authenticator {
	t.Helper()
	if o.Salt == nil {
		o.Salt = hasher(t, "v1=active")
	}
	if o.Cache == nil {
		o.Cache = newCache(t)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func present(t testing.TB, a *Authenticator, token string) (principal.Principal, error) {
	t.Helper()
	who, passed, err := a.Authenticate(t.Context(), []string{"Bearer " + token}, Need{})
	if (err == nil) != (string(passed.Reveal()) == token) {
		t.Errorf("error %v, and the token that is passed on has %d bytes", err, passed.Len())
	}
	if err != nil && (who.Subject != "" || len(token) > 8 && strings.Contains(err.Error(), token)) {
		t.Errorf("with the error came %+v, or the token: %v", who, err)
	}
	return who, err
}

// want checks status, code and challenge of an error.
func want(t testing.TB, err error, code problem.Code, challenge string) {
	t.Helper()
	if err == nil {
		t.Errorf("let in; want %s", code)
		return
	}
	if got := problem.CodeOf(err); got != code {
		t.Errorf("got %s (%v), want %s", got, err, code)
	}
	if got := Challenge(err); got != challenge {
		t.Errorf("challenge %q, want %q", got, challenge)
	}
}

const (
	invalidToken   = `Bearer realm="bff", error="invalid_token"`
	invalidRequest = `Bearer realm="bff", error="invalid_request"`
	plainChallenge = `Bearer realm="bff"`
)

// asked is a provider that is introspected, and answers as it is told.
type asked struct {
	mu     sync.Mutex
	count  map[string]int
	answer func(token string) (string, error)
}

func newAsked(answer func(token string) (string, error)) *asked {
	return &asked{count: map[string]int{}, answer: answer}
}

func (p *asked) introspect(_ context.Context, token secret.Value) ([]byte, error) {
	p.mu.Lock()
	text, answer := string(token.Reveal()), p.answer
	p.count[text]++
	p.mu.Unlock()
	body, err := answer(text)
	return []byte(body), err
}

func (p *asked) times(token string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[token]
}

func (p *asked) say(answer func(token string) (string, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func active(sub string, more map[string]any) string {
	m := map[string]any{"active": true, "sub": sub, "aud": ours, "iss": issuer}
	for k, v := range more {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(body)
}

// signing is an issuer with a key set on loopback.
type signing struct {
	key    *ecdsa.PrivateKey
	server *httptest.Server
	keys   *jwks.Remote
	mu     sync.Mutex
	away   bool
	calls  int
}

func newSigning(t testing.TB) *signing {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &signing{key: key}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		away := s.away
		s.calls++
		s.mu.Unlock()
		if away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	}))
	t.Cleanup(s.server.Close)
	s.keys = jwks.NewRemote(jwks.RemoteOptions{Client: s.server.Client(), Locate: func(context.Context) (string, error) { return s.server.URL, nil }})
	return s
}

// token signs the claims of a good access token, changed: nil deletes.
func (s *signing) token(t testing.TB, typ string, changes map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{"iss": issuer, "sub": "machine", "aud": ours, "client_id": "machine",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text()}
	for k, v := range changes {
		if v == nil {
			delete(claims, k)
		} else {
			claims[k] = v
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: "k1"}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

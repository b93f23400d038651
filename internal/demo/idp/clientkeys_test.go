package idp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// endpoint is a client's jwks_uri without a socket, so that time is synctest's.
type endpoint struct {
	mu     sync.Mutex
	kids   []string
	header http.Header
	status int
	err    error
	delay  time.Duration
}

func (e *endpoint) set(kids ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kids = kids
}

func (e *endpoint) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(e.delay)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, kid := range e.kids {
		k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: kid})
	}
	body, _ := json.Marshal(set)
	return &http.Response{StatusCode: max(e.status, 200), Header: e.header, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

func (e *endpoint) keys(ceiling, floor time.Duration) *remoteKeys {
	p := &Provider{o: Options{
		HTTPClient: &http.Client{Transport: e}, Now: time.Now, ClientKeysCeiling: ceiling, ClientKeysFloor: floor,
	}}
	return p.newRemoteKeys("http://rp.test/jwks.json")
}

func TestRemoteKeys(t *testing.T) {
	maxAge := func(v string) http.Header { return http.Header{"Cache-Control": {v}} }
	run := func(name string, e *endpoint, f func(t *testing.T, e *endpoint, found func(kid string) bool, fetches func(uint64))) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := e.keys(5*time.Minute, time.Second)
				found := func(kid string) bool { return len(k.find(context.Background(), kid, "ES256")) > 0 }
				f(t, e, found, func(want uint64) {
					t.Helper()
					if n := k.fetches.Load(); n != want {
						t.Errorf("want %d fetches, found %d", want, n)
					}
				})
			})
		})
	}
	run("max-age is honoured", &endpoint{kids: []string{"a"}, header: maxAge("max-age=60")},
		func(t *testing.T, e *endpoint, found func(string) bool, fetches func(uint64)) {
			found("a")
			time.Sleep(59 * time.Second)
			found("a")
			fetches(1)
			e.set("b")
			time.Sleep(time.Second)
			if found("a") {
				t.Error("a removed key is good beyond max-age")
			}
			fetches(2)
		})
	run("the ceiling holds", &endpoint{kids: []string{"a"}, header: maxAge("max-age=86400")},
		func(t *testing.T, _ *endpoint, found func(string) bool, fetches func(uint64)) {
			found("a")
			time.Sleep(5 * time.Minute)
			found("a")
			fetches(2)
		})
	run("an unknown kid is looked for at once", &endpoint{kids: []string{"a"}, header: maxAge("max-age=60")},
		func(t *testing.T, e *endpoint, found func(string) bool, fetches func(uint64)) {
			found("a")
			e.set("a", "b")
			time.Sleep(time.Second)
			if !found("b") {
				t.Error("want the new key found")
			}
			fetches(2)
		})
	run("but not more often than the floor", &endpoint{kids: []string{"a"}, header: maxAge("max-age=60")},
		func(t *testing.T, _ *endpoint, found func(string) bool, fetches func(uint64)) {
			found("a")
			for range 1000 {
				found("made-up")
			}
			fetches(1)
			time.Sleep(time.Second)
			for range 1000 {
				found("made-up")
			}
			fetches(2)
		})
	run("an endpoint that is away costs nobody anything", &endpoint{kids: []string{"a"}, header: maxAge("max-age=60")},
		func(t *testing.T, e *endpoint, found func(string) bool, fetches func(uint64)) {
			found("a")
			e.err = errors.New("connection refused")
			time.Sleep(time.Hour)
			for range 2 {
				if !found("a") {
					t.Error("want the last good key")
				}
			}
			fetches(2)
			e.err, e.status = nil, 500
			time.Sleep(time.Hour)
			if !found("a") {
				t.Error("want the last good key")
			}
			fetches(3)
		})
	run("many at once fetch once", &endpoint{kids: []string{"a"}, delay: time.Second},
		func(t *testing.T, _ *endpoint, found func(string) bool, fetches func(uint64)) {
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if !found("a") {
						t.Error("want the key found")
					}
				})
			}
			wg.Wait()
			fetches(1)
		})
}

func TestFreshFor(t *testing.T) {
	const ceiling = time.Minute
	for _, tt := range []struct {
		control, age string
		want         time.Duration
	}{
		{"", "", ceiling},
		{"public", "", ceiling},
		{"max-age=10", "", 10 * time.Second},
		{"public, Max-Age=10", "4", 6 * time.Second},
		{`max-age="10"`, "", 10 * time.Second},
		{"max-age=10", "11", 0},
		{"max-age=3600", "", ceiling},
		{"max-age=0", "", 0},
		{"max-age=-1", "", 0},
		{"max-age=x", "", 0},
		{"max-age=99999999999999999999", "", 0},
		{"max-age=10, no-store", "", 0},
		{"no-cache", "", 0},
	} {
		h := http.Header{}
		h.Set("Cache-Control", tt.control)
		h.Set("Age", tt.age)
		if got := freshFor(h, ceiling); got != tt.want {
			t.Errorf("%q, Age %q: want %s, found %s", tt.control, tt.age, tt.want, got)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""},{"kty":"oct","k":"AAAA"},{"kty":"new"},null,7]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, _ := parseKeys(b)
		for _, k := range keys {
			if !k.Valid() || !k.IsPublic() {
				t.Errorf("accepted a key that is not a public one: %T", k.Key)
			}
		}
		for _, alg := range assertionAlgs {
			matching(keys, "", string(alg))
		}
	})
}

// A key set may hold kinds of key that nobody here knows (RFC 7517, 5).
func TestParseKeysSkips(t *testing.T) {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	public, _ := (&jose.JSONWebKey{Key: k.Public(), KeyID: "p"}).MarshalJSON()
	private, _ := (&jose.JSONWebKey{Key: k, KeyID: "s"}).MarshalJSON()
	keys, err := parseKeys([]byte(`{"keys":[{"kty":"new"},` + string(private) + `,{"kty":"oct","k":"c2VjcmV0"},` + string(public) + `]}`))
	if err != nil || len(keys) != 1 || keys[0].KeyID != "p" {
		t.Errorf("want the one public key, found %d (%v)", len(keys), err)
	}
}

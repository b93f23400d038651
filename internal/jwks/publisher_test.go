package jwks

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/keyring"
)

func get(h http.Handler, method string, headers map[string]string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, Path, nil)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request)
	return w
}

func TestPublisherServesLivePublicKeysOnly(t *testing.T) {
	active, pending, retiring, retired := newEC(t), newEd(t), newKey(t, rsaKey()), newEC(t)
	ring := ringOf(t, version(t, pending, keyring.Pending), version(t, active, keyring.Active),
		version(t, retiring, keyring.Retiring), version(t, retired, keyring.Retired))
	p, err := NewPublisher(ring, PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := get(p, "GET", nil)
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, key := range set.Keys {
		ids = append(ids, key["kid"].(string))
		if key["use"] != "sig" {
			t.Errorf("key %v: use is %v", key["kid"], key["use"])
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth", "priv"} {
			if _, ok := key[private]; ok {
				t.Errorf("key %v: the private member %q is served", key["kid"], private)
			}
		}
	}
	if want := []string{active.ID(), pending.ID(), retiring.ID()}; !slices.Equal(ids, want) {
		t.Errorf("keys: got %v, want %v", ids, want)
	}
	if set.Keys[0]["alg"] != "ES256" || set.Keys[1]["alg"] != "EdDSA" || set.Keys[2]["alg"] != nil {
		t.Errorf("algorithms: got %v, %v, %v", set.Keys[0]["alg"], set.Keys[1]["alg"], set.Keys[2]["alg"])
	}
	if strings.Contains(w.Body.String(), "PRIVATE") {
		t.Error("the body holds PEM")
	}
}

func TestPublisherBoundRSAKeySaysItsAlgorithm(t *testing.T) {
	key, err := newKey(t, rsaKey()).Bind(PS256)
	if err != nil {
		t.Fatal(err)
	}
	body, err := Document(ringOf(t, version(t, key, keyring.Active)))
	if err != nil || !strings.Contains(string(body), `"alg":"PS256"`) {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestPublisherHTTP(t *testing.T) {
	p, err := NewPublisher(ringOf(t, version(t, newEC(t), keyring.Active)), PublisherOptions{MaxAge: 120 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	full := get(p, "GET", nil)
	etag := full.Header().Get("ETag")
	if full.Code != 200 || full.Header().Get("Cache-Control") != "public, max-age=120, must-revalidate" ||
		full.Header().Get("Content-Type") != "application/jwk-set+json" || !strings.HasPrefix(etag, `"`) {
		t.Errorf("GET: %d %v", full.Code, full.Header())
	}
	head := get(p, "HEAD", nil)
	if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != full.Header().Get("Content-Length") {
		t.Errorf("HEAD: %d, %d bytes, %v", head.Code, head.Body.Len(), head.Header())
	}
	for _, known := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
		w := get(p, "GET", map[string]string{"If-None-Match": known})
		if w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("ETag") != etag || w.Header().Get("Cache-Control") == "" {
			t.Errorf("If-None-Match %s: %d %v", known, w.Code, w.Header())
		}
	}
	if w := get(p, "GET", map[string]string{"If-None-Match": `"other"`}); w.Code != 200 {
		t.Errorf("another ETag: %d", w.Code)
	}
	if w := get(p, "POST", nil); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

func TestPublisherNeedsARing(t *testing.T) {
	if _, err := NewPublisher(keyring.Ring{}, PublisherOptions{}); err == nil {
		t.Error("an empty ring was published")
	}
}

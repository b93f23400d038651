package jwks

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/keyring"
)

// Path is where a Publisher is mounted.
const Path = "/.well-known/jwks.json"

// DefaultMaxAge is how long others may keep our keys unless told otherwise.
const DefaultMaxAge = 300 * time.Second

// PublisherOptions are the choices of a Publisher.
type PublisherOptions struct {
	// MaxAge is what Cache-Control says, in whole seconds. A new key is
	// published for at least that long before it signs. Zero means DefaultMaxAge;
	// the bounds are 1 s and 24 h.
	MaxAge time.Duration
}

// Publisher serves the public keys of a signing ring. Everything it sends was
// made when it was built. It is immutable and safe for concurrent use.
type Publisher struct {
	body         []byte
	etag         string
	cacheControl string
}

// NewPublisher builds the document of the ring's pending, active and retiring
// versions. It fails when the ring is empty or a value is not a signing key.
func NewPublisher(ring keyring.Ring, o PublisherOptions) (*Publisher, error) {
	body, err := Document(ring)
	if err != nil {
		return nil, err
	}
	maxAge := o.MaxAge
	if maxAge == 0 {
		maxAge = DefaultMaxAge
	}
	maxAge = min(max(maxAge, time.Second), 24*time.Hour)
	sum := sha256.Sum256(body)
	return &Publisher{
		body:         body,
		etag:         `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`,
		cacheControl: "public, max-age=" + strconv.Itoa(int(maxAge/time.Second)) + ", must-revalidate",
	}, nil
}

// Document is the JWK Set (RFC 7517 section 5) of a ring: the public keys of
// its live versions, the active one first.
func Document(ring keyring.Ring) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for v := range ring.Live() {
		key, err := ParseKey(v.Value)
		if err != nil {
			return nil, fmt.Errorf("signing key %s: %w", v.ID, err)
		}
		public := key.Public()
		if !public.IsPublic() {
			return nil, fmt.Errorf("signing key %s: not a public key", v.ID) // can't happen; must never be served
		}
		set.Keys = append(set.Keys, public)
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("jwks: the signing ring is empty")
	}
	body, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("jwks: encoding the key set: %w", err)
	}
	return append(body, '\n'), nil
}

// ServeHTTP answers GET and HEAD, with 304 for a known ETag.
func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	h.Set("Cache-Control", p.cacheControl)
	h.Set("ETag", p.etag)
	if matches(r.Header.Values("If-None-Match"), p.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/jwk-set+json") // RFC 7517 section 8.5.2
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(p.body)
	}
}

// matches compares weakly, as RFC 9110 section 13.1.2 wants for If-None-Match:
// a proxy that compresses turns our strong tag into a weak one.
func matches(values []string, etag string) bool {
	for _, value := range values {
		for candidate := range strings.SplitSeq(value, ",") {
			candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
			if candidate == etag || candidate == "*" {
				return true
			}
		}
	}
	return false
}

package idp

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// remoteKeys caches one client's jwks_uri, as a careful provider does: it
// honours max-age up to a ceiling, looks again when it meets an unknown kid,
// and does neither more often than the floor. A fetch that fails leaves the
// last good set in use, for a client whose key endpoint is briefly away is not
// a client whose keys are gone.
type remoteKeys struct {
	uri            string
	client         *http.Client
	ceiling, floor time.Duration
	now            func() time.Time
	fetches        atomic.Uint64

	// turn has room for one: whoever is in may fetch; whoever waits
	// finds the result. It is not a Mutex, so that a waiter can give up.
	turn chan struct{}

	keys    []jose.JSONWebKey
	fresh   time.Time // until then
	tried   time.Time
	fetched bool
}

func (p *Provider) newRemoteKeys(uri string) *remoteKeys {
	return &remoteKeys{
		uri: uri, client: p.o.HTTPClient, ceiling: p.o.ClientKeysCeiling, floor: p.o.ClientKeysFloor, now: p.o.Now,
		turn: make(chan struct{}, 1),
	}
}

// find returns the keys that a signature with this kid and alg could be
// verified with.
func (k *remoteKeys) find(ctx context.Context, kid, alg string) []jose.JSONWebKey {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil
	}
	if !k.now().Before(k.fresh) {
		k.refetch(ctx)
	}
	found := matching(k.keys, kid, alg)
	if len(found) == 0 {
		k.refetch(ctx)
		found = matching(k.keys, kid, alg)
	}
	return found
}

func (k *remoteKeys) refetch(ctx context.Context) {
	now := k.now()
	if k.fetched && now.Sub(k.tried) < k.floor {
		return
	}
	k.fetched, k.tried = true, now
	k.fetches.Add(1)
	// The one who asks first may hang up; those behind it still want the keys.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	keys, age, err := k.fetch(ctx)
	if err != nil {
		return
	}
	k.keys, k.fresh = keys, now.Add(age)
}

func (k *remoteKeys) fetch(ctx context.Context) ([]jose.JSONWebKey, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.uri, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := k.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("jwks_uri: want status 200, found %d", res.StatusCode)
	}
	const most = 256 << 10
	body, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, 0, err
	}
	if len(body) > most {
		return nil, 0, errors.New("jwks_uri: more than 256 KiB")
	}
	keys, err := parseKeys(body)
	return keys, freshFor(res.Header, k.ceiling), err
}

// parseKeys reads a JWK Set. Keys of a kind that we do not know are skipped
// (RFC 7517, 5), and so is anything that is not a public key.
func parseKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	if set.Keys == nil {
		return nil, errors.New("JWK Set without keys")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) == nil && k.Valid() && k.IsPublic() {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// freshFor reads how long a response may be kept: max-age less Age (RFC 9111,
// 4.2), never above the ceiling, which also stands for silence.
func freshFor(h http.Header, ceiling time.Duration) time.Duration {
	age := ceiling
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
			switch name {
			case "no-store", "no-cache":
				return 0
			case "max-age":
				n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
				if err != nil {
					return 0 // RFC 9111, 4.2.1: invalid freshness is stale
				}
				age = min(age, time.Duration(n)*time.Second)
			}
		}
	}
	if n, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		age -= time.Duration(n) * time.Second
	}
	return max(age, 0)
}

// matching selects by kid (any, when the signature names none), use, alg and
// kind of key.
func matching(keys []jose.JSONWebKey, kid, alg string) []jose.JSONWebKey {
	var out []jose.JSONWebKey
	for _, k := range keys {
		if kid != "" && k.KeyID != kid || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != alg {
			continue
		}
		ok := false
		switch key := k.Key.(type) {
		case *ecdsa.PublicKey:
			ok = alg == string(jose.ES256) && key.Curve.Params().BitSize == 256
		case *rsa.PublicKey:
			ok = (alg == string(jose.PS256) || alg == string(jose.RS256)) && key.N.BitLen() >= 2048
		case ed25519.PublicKey:
			ok = alg == string(jose.EdDSA)
		}
		if ok {
			out = append(out, k)
		}
	}
	return out
}

package app

import (
	"encoding/base64"
	"sync/atomic"

	"keyway/internal/config"
	"keyway/internal/keyring"
	"keyway/internal/limit"
	"keyway/internal/seal"
	"keyway/internal/session/redis"
)

// limiter counts what comes from address prefixes and accounts, with the other replicas
// where they share a store.
func (a *app) limiter() *limit.Limiter {
	var shared limit.Counters
	if store, ok := a.resources.store.(*redis.Store); ok {
		names := &counterNames{ring: func() keyring.Ring { return a.current.Load().rings[nameTokenHashSalt] }, meter: a.resources.meter}
		shared = store.Counters(names.name)
	}
	return limit.New(limitRates(a.config.Limits.Rates), shared)
}

// callers count for the limits of routes.
func (a *app) callers() *limit.Callers {
	rates := a.config.Limits.Rates
	return limit.NewCallers(rates.IPv4Prefix, rates.IPv6Prefix)
}

func limitRates(r config.Rates) limit.Rates {
	return limit.Rates{IPv4Prefix: r.IPv4Prefix, IPv6Prefix: r.IPv6Prefix, Of: map[limit.Kind]limit.Rate{
		limit.SignIn: r.SignIn, limit.Callback: r.Callback, limit.BackchannelLogout: r.BackchannelLogout, limit.RefusedToken: r.RefusedTokens,
		limit.Question: r.Questions,
	}}
}

// counterNames name counters in the store: by a hash under the token-hash-salt, so
// that who reads the store learns no addresses and no accounts. While replicas differ in its active
// version they count apart, for seconds.
type counterNames struct {
	ring  func() keyring.Ring
	meter *seal.Meter
	last  atomic.Pointer[namedBy]
}

type namedBy struct {
	ring   keyring.Ring
	hasher *seal.Hasher
}

const purposeCounters = "rate limit"

func (n *counterNames) name(data []byte) (string, error) {
	ring, by := n.ring(), n.last.Load()
	if by == nil || !keyring.Same(by.ring, ring) {
		hasher, err := seal.NewHasher(ring, purposeCounters, n.meter)
		if err != nil {
			return "", err
		}
		by = &namedBy{ring, hasher}
		n.last.Store(by)
	}
	sum, err := by.hasher.Sum(by.hasher.ActiveVersion(), data)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum[:16]), nil
}

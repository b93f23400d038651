package jwks

import (
	"errors"
	"time"
)

// Times are the claims iat, nbf and exp (RFC 7519 section 4.1), to be embedded in
// what a payload is read into.
type Times struct {
	IssuedAt  *NumericDate `json:"iat"`
	NotBefore *NumericDate `json:"nbf"`
	Expiry    *NumericDate `json:"exp"`
}

// TimesWanted is what Times are held against.
type TimesWanted struct {
	// Skew is how far the issuer's clock may be from ours, for each of them; ExactExpiry
	// takes it from exp, where tokens are good until then and no longer.
	Skew        time.Duration
	ExactExpiry bool
	// IssuedAt and Expiry have to be there.
	IssuedAt, Expiry bool
}

// Check reports what keeps something with these times from being good at now. The
// error names the claim, and quotes nothing of it.
func (t Times) Check(now time.Time, want TimesWanted) error {
	latest, grace := now.Add(want.Skew), want.Skew
	if want.ExactExpiry {
		grace = 0
	}
	switch {
	case want.Expiry && t.Expiry == nil:
		return errors.New("exp: missing")
	case t.Expiry != nil && !now.Before(t.Expiry.Time().Add(grace)):
		return errors.New("exp: past")
	case want.IssuedAt && t.IssuedAt == nil:
		return errors.New("iat: missing")
	case t.IssuedAt != nil && t.IssuedAt.Time().After(latest):
		return errors.New("iat: in the future")
	case t.NotBefore != nil && t.NotBefore.Time().After(latest):
		return errors.New("nbf: in the future")
	case t.Expiry != nil && t.IssuedAt != nil && t.Expiry.Time().Before(t.IssuedAt.Time()):
		return errors.New("exp: before iat")
	}
	return nil
}

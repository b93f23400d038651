package jwks_test

import (
	"testing"
	"time"

	"keyway/internal/jwks"
)

func TestTimes(t *testing.T) {
	const now, skew = 1_000_000, 60
	at := func(seconds int) *jwks.NumericDate {
		d := jwks.NumericDate(now + seconds)
		return &d
	}
	loose := jwks.TimesWanted{Skew: skew * time.Second}
	strict := jwks.TimesWanted{Skew: skew * time.Second, IssuedAt: true, Expiry: true}
	exact := jwks.TimesWanted{Skew: skew * time.Second, ExactExpiry: true}
	for name, tc := range map[string]struct {
		times jwks.Times
		want  jwks.TimesWanted
		err   string
	}{
		"none, and none needed": {jwks.Times{}, loose, ""},
		"no exp":                {jwks.Times{IssuedAt: at(0)}, strict, "exp: missing"},
		"no iat":                {jwks.Times{Expiry: at(9)}, strict, "iat: missing"},
		"good":                  {jwks.Times{IssuedAt: at(-9), NotBefore: at(-9), Expiry: at(9)}, strict, ""},
		"just not past":         {jwks.Times{Expiry: at(1 - skew)}, loose, ""},
		"just past":             {jwks.Times{Expiry: at(-skew)}, loose, "exp: past"},
		"past, to the second":   {jwks.Times{Expiry: at(0)}, exact, "exp: past"},
		"good for a second":     {jwks.Times{Expiry: at(1)}, exact, ""},
		"iat by another clock":  {jwks.Times{IssuedAt: at(skew)}, exact, ""},
		"iat to come":           {jwks.Times{IssuedAt: at(skew + 1)}, loose, "iat: in the future"},
		"nbf by another clock":  {jwks.Times{NotBefore: at(skew)}, loose, ""},
		"nbf to come":           {jwks.Times{NotBefore: at(skew + 1)}, loose, "nbf: in the future"},
		"over before it began":  {jwks.Times{IssuedAt: at(20), Expiry: at(10)}, loose, "exp: before iat"},
		"year 1970":             {jwks.Times{Expiry: at(-now)}, loose, "exp: past"},
	} {
		got := ""
		if err := tc.times.Check(time.Unix(now, 0), tc.want); err != nil {
			got = err.Error()
		}
		if got != tc.err {
			t.Errorf("%s: %q, want %q", name, got, tc.err)
		}
	}
}

package oidc

import (
	"net/http"
	"testing"
	"time"

	"keyway/internal/secret"
	"keyway/internal/threat"
)

// The example of OpenID Connect Core appendix A.3: this access token has this
// at_hash under a SHA-256 algorithm.
func TestAccessHashExample(t *testing.T) {
	token := secret.NewValue([]byte("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"))
	if got := accessHash("RS256", token); got != "77QmUPtjPfzWtF2AnpK9RQ" {
		t.Errorf("got %s", got)
	}
}

func TestSkewIsSixtySeconds(t *testing.T) {
	threat.Covers(t, 5)
	now := time.Unix(2_000_000_000, 0)
	claims := func(iat, exp string) []byte {
		return []byte(`{"iss":"i","sub":"s","aud":"c","iat":` + iat + `,"exp":` + exp + `}`)
	}
	for name, c := range map[string]struct {
		iat, exp string
		accept   bool
	}{
		"iat +60 s":       {"2000000060", "2000000300", true},
		"iat +61 s":       {"2000000061", "2000000300", false},
		"iat +60.5 s":     {"2000000060.5", "2000000300", false},
		"exp 59 s ago":    {"1999999000", "1999999941", true},
		"exp 60 s ago":    {"1999999000", "1999999940", false},
		"exp in 9999":     {"1999999000", "253402300799", true},
		"exp in 10000":    {"1999999000", "253402300800", false},
		"exp 1e300":       {"1999999000", "1e300", false},
		"exp 1e999":       {"1999999000", "1e999", false},
		"iat as a string": {`"1999999000"`, "2000000300", false},
		"iat null":        {"null", "2000000300", false},
		"exp true":        {"1999999000", "true", false},
	} {
		_, err := parseIDTokenClaims(claims(c.iat, c.exp), "ES256", expected{issuer: "i", clientID: "c", now: now})
		if (err == nil) != c.accept {
			t.Errorf("%s: got %v, want accepted: %v", name, err, c.accept)
		}
	}
	// Members that decide, twice: two readers could see two users.
	for _, twice := range []string{`"sub":"eve"`, `"aud":"c"`, `"exp":2000000300`} {
		payload := claims("1999999000", "2000000300")
		payload = append(payload[:len(payload)-1], ("," + twice + "}")...)
		if _, err := parseIDTokenClaims(payload, "ES256", expected{issuer: "i", clientID: "c", now: now}); err == nil {
			t.Errorf("%s twice was accepted", twice)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, "99999": time.Hour, "-5": 0, "soon": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

func TestStateExpires(t *testing.T) {
	threat.Covers(t, 2)
	s := fuzzTransactions(t)
	now := time.Now()
	for age, accept := range map[time.Duration]bool{
		0: true, SignInLifetime - time.Second: true, SignInLifetime + 2*time.Second: false, -4 * time.Minute: true, -time.Hour: false,
	} {
		state := s.sealState(transactionID{1}, now.Add(-age).Unix())
		if _, _, err := s.openState(state, now); (err == nil) != accept {
			t.Errorf("%v old: got %v", age, err)
		}
	}
}

package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const day = 24 * time.Hour

// What nobody has said is filled in, per secret; a 0 that somebody wrote is kept.
func TestRotationPolicies(t *testing.T) {
	cfg := mustLoad(t, map[string]string{
		SettingsFile: `rotation:
  guard: 20m
  secrets:
    csrf-key: {every: 0, guard: 0, limit: 0}
    signing-key: {patience: 0}
    client-secret/main: {every: 1h, lifetime: 2h}
    state-key:
`,
		IdPsFile: "idps: [{name: main, issuer: https://id.example.com, client_id: x, client_secret: '${RS}'}]\n",
	})
	want := map[string]RotationPolicy{
		"csrf-key":             {Patience: day},
		"signing-key":          {Every: 90 * day, Guard: 20 * time.Minute, Limit: 5},
		"client-secret/main":   {Every: time.Hour, Guard: 20 * time.Minute, Lifetime: 2 * time.Hour, Patience: day, Limit: 5},
		"state-key":            {Every: 90 * day, Guard: 20 * time.Minute, Patience: day, Limit: 5},
		"token-hash-salt":      {Every: 30 * day, Guard: 20 * time.Minute, Patience: day, Limit: 5},
		"ua-hash-salt":         {Every: 30 * day, Guard: 20 * time.Minute, Patience: day, Limit: 5},
		"session-key":          {Every: 90 * day, Guard: 20 * time.Minute, Patience: day, Limit: 5},
		"client-secret/others": {Every: 90 * day, Guard: 20 * time.Minute, Patience: day, Limit: 5},
	}
	for name, p := range want {
		if d := cmp.Diff(p, cfg.Rotation.For(name)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRotationByDefault(t *testing.T) {
	r := mustLoad(t, nil).Rotation
	if r.Auto || r.Guard != 10*time.Minute || r.Skew != time.Minute || r.Poll != 15*time.Second {
		t.Errorf("got %+v", r)
	}
	if r := mustLoad(t, nil, "AUTO_KEY_ROTATION=1").Rotation; !r.Auto || r.For("csrf-key").Every != 30*day {
		t.Errorf("with AUTO_KEY_ROTATION: %+v", r)
	}
}

// Who opens the admin side to other machines is told what that means.
func TestAdminBeyondLoopback(t *testing.T) {
	notes := func(env ...string) string {
		var all []string
		for _, n := range mustLoad(t, nil, env...).Notes {
			all = append(all, n.Error())
		}
		return strings.Join(all, "\n")
	}
	if got := notes("BFF_ADMIN_ADDR=127.0.0.1:8001"); got != "" {
		t.Errorf("loopback: %s", got)
	}
	if got := notes("BFF_ADMIN_ADDR=0.0.0.0:8001"); !strings.Contains(got, "the admin API is off, metrics are served") || !strings.Contains(got, "BFF_ADMIN_TOKEN_FILE") {
		t.Errorf("without a token: %q", got)
	}
	got := notes("BFF_ADMIN_ADDR=0.0.0.0:8001", "BFF_ADMIN_TOKEN_FILE=/run/secrets/admin")
	if strings.Contains(got, "off") || !strings.Contains(got, "only operators") || strings.Contains(got, "no such variable") {
		t.Errorf("with a token: %q", got)
	}
	if path := mustLoad(t, nil, "BFF_ADMIN_TOKEN_FILE=/run/secrets/admin").Admin.TokenFile; path != "/run/secrets/admin" {
		t.Errorf("token file: %q", path)
	}
}

package app

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyway/internal/fleet"
)

// others is a fleet in which there are more replicas than this one.
type others struct {
	fleetSide
	more []fleet.Report
	off  time.Duration
	err  error
}

func (o others) reports(ctx context.Context) (fleet.Roll, error) {
	roll, err := o.fleetSide.reports(ctx)
	roll.Now = roll.Now.Add(-o.off)
	for i, r := range roll.Reports {
		r.Seen, r.Until = r.Seen.Add(-o.off), r.Until.Add(-o.off)
		roll.Reports[i] = r
	}
	for _, r := range o.more {
		r.Seen = roll.Now
		r.Until = roll.Now.Add(time.Minute)
		roll.Reports = append(roll.Reports, r)
	}
	if o.err != nil {
		err = o.err
	}
	return roll, err
}

func metricsOf(t *testing.T, a *app) string {
	t.Helper()
	w := httptest.NewRecorder()
	a.resources.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetricsSayWhoLagsAndWhoseClockIsOff(t *testing.T) {
	a, err := opened(t, env(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]fleet.Held{}
	for name, ring := range a.current.Load().rings {
		held[name] = fleet.Held{Holds: map[string]time.Time{ring.Active().ID: time.Now()}, Issues: ring.Active().ID}
	}
	held[nameCSRFKey] = fleet.Held{Holds: map[string]time.Time{"an-old-one": time.Now()}, Issues: "an-old-one"}
	side := others{fleetSide: a.side, more: []fleet.Report{{ID: "b7", Host: "gw-1", Secrets: held}}, off: 3 * time.Minute}
	a.side = side
	got := metricsOf(t, a)
	for _, want := range []string{
		`bff_replica_lacks{host="gw-1",replica="b7",secret="csrf-key"} 1`,
		fmt.Sprintf(`replica="%s",secret="csrf-key"} 0`, a.id),
		`bff_fleet_replicas{state="current"} 1`, `bff_fleet_replicas{state="lagging"} 1`, `bff_fleet_replicas{state="gone"} 0`,
		`bff_secret_pending_seconds{secret="session-key"} 0`,
		`bff_rotations_total{outcome="rolled_back",secret="signing-key"} 0`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(got, `host="gw-1",replica="b7",secret="session-key"`) {
		t.Error("a replica is said to lack what it holds")
	}
	if off := value(t, got, "bff_clock_offset_seconds"); off < 179 || off > 190 {
		t.Errorf("the clock is off by %v s", off)
	}
	if due := value(t, got, `bff_secret_due_timestamp_seconds{secret="csrf-key"}`); due < float64(time.Now().Add(28*24*time.Hour).Unix()) || due > float64(time.Now().Add(31*24*time.Hour).Unix()) {
		t.Errorf("due at %v", due)
	}

	side.err = fmt.Errorf("the store is away")
	a.side = side
	if strings.Contains(metricsOf(t, a), "bff_fleet_replicas{") {
		t.Error("a fleet of which nothing is known is told of")
	}
}

func TestMetricsSayWhenAClientSecretEnds(t *testing.T) {
	a, err := opened(t, env(t, map[string]string{
		"OIDC_ISSUER": "https://id.invalid", "AUTH_CLIENT_ID": "app", "AUTH_CLIENT_SECRET": goodSalt, "BFF_CALLBACK_URL": "https://app.example/auth/callback",
	}))
	if err != nil {
		t.Fatal(err)
	}
	a.config.OIDC.ClientSecretExpiresAt = time.Unix(1_900_000_000, 0)
	if at := value(t, metricsOf(t, a), `bff_secret_expires_timestamp_seconds{secret="client-secret"}`); at != 1_900_000_000 {
		t.Errorf("ends at %v", at)
	}
}

func TestMetricsSayWhichSourceIsInTrouble(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "csrf")
	if err := os.WriteFile(file, []byte(goodSalt), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(t, env(t, map[string]string{"CSRF_SECRET_KEY_FILE": file}), managed, "")
	r, c := start(t, o), client(t)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	text := ""
	for deadline := time.Now().Add(patience); !strings.Contains(text, `bff_secret_source_trouble{secret="csrf-key",why="missing"} 1`); _, text = get(c, r.Admin+"/metrics") {
		if time.Now().After(deadline) {
			t.Fatalf("the trouble is not among the metrics:\n%s", text)
		}
	}
}

// value is that of one line of the metrics.
func value(t *testing.T, text, series string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("missing: %s", series)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

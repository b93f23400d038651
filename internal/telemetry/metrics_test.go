package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
)

func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func ring(t testing.TB, name string, versions ...keyring.Version) keyring.Ring {
	t.Helper()
	r, err := keyring.New(name, versions...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func version(id string, state keyring.State) keyring.Version {
	v := keyring.Version{ID: id, State: state, CreatedAt: time.Now().Add(-time.Hour)}
	if state.Live() {
		v.Value = secret.NewValue([]byte("hunter2"))
	}
	return v
}

func TestMetricsHaveTheNamesOfTheContract(t *testing.T) {
	m := NewMetrics()
	m.ActiveSessions(func() float64 { return 7 })
	rings := []keyring.Ring{ring(t, "session", version("v2", keyring.Active), version("v1", keyring.Retiring), version("v0", keyring.Retired)), {}}
	m.SecretAges(func() []keyring.Ring { return rings })
	m.Secrets(rings)
	m.Secrets(rings[:1])
	m.Request(&RequestEvent{Method: "GET", Route: "notes", Status: 200, Duration: 3 * time.Millisecond})
	m.Request(&RequestEvent{Method: "GET", Route: "notes", Status: 200, Duration: 3 * time.Millisecond})
	m.Request(&RequestEvent{Method: "GET", Route: "verify", Status: 401})
	m.Request(&RequestEvent{Method: "PROPFIND"})
	m.Request(&RequestEvent{Method: "get", Route: "notes", Status: 799})
	m.Request(&RequestEvent{Method: "GET", Route: "notes", Status: 299})
	m.Request(&RequestEvent{Method: "GET", Route: "notes", Status: StatusClientGone})
	m.SessionCreated()
	m.SessionDestroyed("logout")
	m.BindingFailure("address")
	m.CSRFViolation("missing")
	m.Flow("login", time.Second)
	m.TokenRefresh("session", "ok")
	m.IdPRequest("token", 200)
	m.IdPRequest("par", 0)
	m.ClientAuth("main", "v1", "accepted")
	m.JWKSFetch("program")
	got := scrape(t, m)
	for _, want := range []string{
		`http_requests_total{method="GET",route="notes",status="200"} 2`,
		`http_requests_total{method="GET",route="notes",status="2xx"} 1`,
		`http_requests_total{method="GET",route="notes",status="499"} 1`,
		`http_requests_total{method="other",route="none",status="none"} 1`,
		`http_requests_total{method="other",route="notes",status="none"} 1`,
		`http_request_duration_seconds_count{method="GET",route="notes"} 4`,
		`http_request_duration_seconds_bucket{method="GET",route="notes",le="0.0025"} 2`,
		`bff_verify_duration_seconds_count{status="401"} 1`,
		`bff_active_sessions_total 7`,
		`bff_sessions_created_total 1`,
		`bff_sessions_destroyed_total{reason="logout"} 1`,
		`bff_sessions_destroyed_total{reason="grant_gone"} 0`,
		`bff_session_binding_failures_total{reason="address"} 1`,
		`bff_csrf_violations_total{reason="missing"} 1`,
		`bff_oauth_flow_duration_seconds_count{flow_type="login"} 1`,
		`bff_token_refresh_total{service="session",status="ok"} 1`,
		`bff_idp_requests_total{endpoint="token",status="200"} 1`,
		`bff_idp_requests_total{endpoint="par",status="none"} 1`,
		`bff_client_auth_total{idp="main",outcome="accepted",version="v1"} 1`,
		`bff_jwks_fetches_total{client="program"} 1`,
		`bff_secret_version_info{secret="session",state="active",version="v2"} 1`,
		`bff_secret_version_info{secret="session",state="retiring",version="v1"} 1`,
		`bff_secret_version_info{secret="session",state="retired",version="v0"} 1`,
		`bff_secret_age_seconds{secret="session"} 36`,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(got, "hunter2") {
		t.Error("a secret's value is among the metrics")
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestWhatClientsSendDoesNotGrowTheMetrics(t *testing.T) {
	m := NewMetrics()
	count := func() int { return strings.Count(scrape(t, m), "\nhttp_requests_total{") }
	for i := range 1000 {
		m.Request(&RequestEvent{Method: fmt.Sprint("M", i), Route: "notes", Status: 100 + i})
	}
	if n := count(); n > 100 {
		t.Errorf("%d series", n)
	}
}

func TestMetricsAreConcurrentAndTheirOwn(t *testing.T) {
	m, other := NewMetrics(), NewMetrics()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 100 {
				m.Request(&RequestEvent{Method: "GET", Route: fmt.Sprint("r", n%10), Status: 200 + i%2})
				if n%25 == 0 {
					scrape(t, m)
				}
			}
		})
	}
	all.Wait()
	for route := range 10 {
		if want := fmt.Sprintf(`http_requests_total{method="GET",route="r%d",status="200"} 40`, route); !strings.Contains(scrape(t, m), want) {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(scrape(t, other), "http_requests_total{") {
		t.Error("two gateways in one process mix")
	}
}

func TestVersionsAreSwappedWhole(t *testing.T) {
	m := NewMetrics()
	a := []keyring.Ring{ring(t, "session", version("a", keyring.Active))}
	b := []keyring.Ring{ring(t, "session", version("b", keyring.Active), version("a", keyring.Retiring))}
	m.Secrets(a)
	done := make(chan bool)
	go func() {
		defer close(done)
		for range 200 {
			m.Secrets(b)
			m.Secrets(a)
		}
	}()
	for swapping := true; swapping; {
		select {
		case <-done:
			swapping = false
		default:
		}
		if got := scrape(t, m); strings.Count(got, `state="active"`) != 1 {
			t.Fatalf("not one active version:\n%s", got)
		}
	}
}

func TestCountingARequestDoesNotAllocate(t *testing.T) {
	m := NewMetrics()
	e := &RequestEvent{Method: "GET", Route: "notes", Status: 200, Duration: time.Millisecond}
	m.Request(e)
	if n := testing.AllocsPerRun(100, func() { m.Request(e) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequestMetrics(b *testing.B) {
	m := NewMetrics()
	e := &RequestEvent{Method: "GET", Route: "notes", Status: 200, Duration: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		m.Request(e)
	}
}

func BenchmarkRequestEvent(b *testing.B) {
	for _, level := range []string{"info", "error"} {
		log, err := NewLogger(io.Discard, "json", level)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(level, func(b *testing.B) {
			e := &RequestEvent{Method: "GET", Route: "notes", Status: 200, CorrelationID: "0123456789abcdef", Session: "s-1"}
			b.ReportAllocs()
			for b.Loop() {
				e.Log(b.Context(), log)
			}
		})
	}
}

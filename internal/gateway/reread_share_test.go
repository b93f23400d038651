package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"keyway/internal/gateway"
	"keyway/internal/telemetry"
	"keyway/internal/threat"
)

// Whoever makes versions up waits for a reading like anybody else, and must not be
// all that there is room for.
func TestAStrangerDoesNotShutOthersOut(t *testing.T) {
	threat.Covers(t, 71)
	for name, from := range map[string]func(i int) string{
		"one address":      func(int) string { return "203.0.113.7" },
		"one IPv4 network": func(i int) string { return "203.0.113." + strconv.Itoa(i%256) },
		"one IPv6 network": func(i int) string { return "2001:db8:1:" + strconv.FormatInt(int64(i), 16) + "::1" },
	} {
		t.Run(name, func(t *testing.T) {
			s := &sources{hold: make(chan struct{})}
			var looked atomic.Int32
			w := start(t, withSources(s), func(w *world) {
				w.settings.TrustedProxies = gateway.TrustedProxies{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}
				w.options = append(w.options, func(o *gateway.Options) {
					o.Current = func() *gateway.Generation { looked.Add(1); return w.current.Load() }
				})
			})
			w.publish(overlap)
			u := w.user().signIn()
			w.publish(onlyOld)
			s.set(overlap, nil)

			const strangers = 1200
			var refused atomic.Int32
			var group sync.WaitGroup
			for i := range strangers {
				group.Go(func() {
					r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/api/notes", nil)
					r.RequestURI = "/api/notes"
					r.Header.Set("X-Forwarded-For", from(i))
					r.Header.Set("Cookie", "bff_session=madeup-"+strconv.Itoa(i)+"."+strings.Repeat("A", 43))
					answer := httptest.NewRecorder()
					if w.gateway.ServeHTTP(answer, r); answer.Code == http.StatusServiceUnavailable {
						refused.Add(1)
					}
				})
			}
			poll(t, "most strangers are refused at once", func() bool { return refused.Load() >= strangers-100 && s.calls.Load() == 1 })
			before := looked.Load()
			answer := make(chan response, 1)
			go func() { answer <- u.do("GET", "/api/notes", "X-Forwarded-For", "198.51.100.7") }()
			poll(t, "the user waits", func() bool { return looked.Load() >= before+2 })
			close(s.hold)
			if got := <-answer; got.status != http.StatusOK {
				t.Errorf("the user: %d %s", got.status, got.body)
			}
			group.Wait()
			if n := refused.Load(); n != strangers-100 {
				t.Errorf("%d of %d strangers were refused at once", n, strangers)
			}
		})
	}
}

// A defect in what reads the sources ends neither the process nor what waits.
func TestADefectInAReadingIsContained(t *testing.T) {
	var calls atomic.Int32
	w := start(t, func(w *world) {
		w.options = append(w.options, func(o *gateway.Options) {
			o.Reread = func(context.Context) (bool, error) {
				if calls.Add(1) == 1 {
					panic("with a secret in it")
				}
				w.publish(overlap)
				return true, nil
			}
		})
	})
	w.publish(overlap)
	u := w.user().signIn()
	w.publish(onlyOld)
	if got := u.do("GET", "/api/notes"); got.status != http.StatusServiceUnavailable || got.code() != "keys_unavailable" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := u.do("GET", "/api/notes"); got.status != http.StatusOK {
		t.Errorf("the next time: %d %s", got.status, got.body)
	}
	if log := w.log.String(); !strings.Contains(log, "met a defect") || strings.Contains(log, "with a secret") {
		t.Errorf("logged %s", log)
	}
}

// A request that is served again is one step of one flow.
func TestAFlowIsCountedOnce(t *testing.T) {
	s := &sources{}
	metrics := telemetry.NewMetrics()
	w := start(t, withSources(s), func(w *world) {
		w.options = append(w.options, func(o *gateway.Options) { o.Metrics = metrics })
	})
	w.publish(overlap)
	signedIn, underWay := w.user().signIn(), w.user()
	token, callback := signedIn.csrf(), underWay.toCallback("/home")
	for path, do := range map[string]func() int{
		"callback": func() int { return underWay.do("GET", callback).status },
		"logout":   func() int { return signedIn.do("POST", "/auth/logout", "X-CSRF-Token", token).status },
	} {
		before := flows(metrics, path)
		w.publish(onlyOld)
		s.set(overlap, nil)
		if status := do(); status != http.StatusSeeOther {
			t.Errorf("%s: %d", path, status)
		}
		if n := flows(metrics, path) - before; n != 1 {
			t.Errorf("one %s is counted %d times", path, n)
		}
	}
	if s.calls.Load() != 2 {
		t.Errorf("the sources were read %d times, want twice", s.calls.Load())
	}
}

// flows is how many steps of a kind were counted.
func flows(m *telemetry.Metrics, kind string) int {
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	_, after, _ := strings.Cut(answer.Body.String(), `bff_oauth_flow_duration_seconds_count{flow_type="`+kind+`"} `)
	count, _, _ := strings.Cut(after, "\n")
	n, _ := strconv.Atoi(count)
	return n
}

package admin

import (
	"context"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/rotation"
)

func TestPollAnswersAtOnceWithoutWait(t *testing.T) {
	s := serve(t, false)
	s.control.set("a", func(r *rotation.Rotation) { r.Secret = "session-key" })
	s.control.set("b", func(r *rotation.Rotation) { r.Secret, r.Outcome = "client-secret", "active" })
	a := s.do(t, "GET", "/admin/v1/rotations?id=b&id=a", "")
	a.want(t, 200, `{"rotations":[{"id":"b"`)
	tag := a.Header.Get("ETag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	s.do(t, "GET", "/admin/v1/rotations?id=b&id=a", "", "If-None-Match: "+tag).want(t, 304)
	s.control.set("a", func(r *rotation.Rotation) { r.Waiting = "the peer" })
	s.do(t, "GET", "/admin/v1/rotations?id=b&id=a&wait=30", "", "If-None-Match: "+tag).want(t, 200, "the peer")
}

func TestPollEndsWhenAllHaveAnOutcome(t *testing.T) {
	s := serve(t, false)
	s.control.set("a", func(*rotation.Rotation) {})
	answered := make(chan answer)
	go func() { answered <- s.do(t, "GET", "/admin/v1/rotations?id=a&wait=30", "") }()
	until(t, func() bool { s.control.mu.Lock(); defer s.control.mu.Unlock(); return s.control.reads > 0 })
	s.control.set("a", func(r *rotation.Rotation) { r.Outcome = "rejected" })
	(<-answered).want(t, 200, `"outcome":"rejected"`)
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatal("not within 20 s")
		case <-tick.C:
		}
	}
}

func TestPollQueries(t *testing.T) {
	s := serve(t, false)
	for _, query := range []string{"", "?id=", "?id=a&wait=-1", "?id=a&wait=x", "?id=a&wait=1&wait=2", "?id=%zz"} {
		s.do(t, "GET", "/admin/v1/rotations"+query, "").want(t, 400, `"code":"bad_request"`)
	}
	s.do(t, "GET", "/admin/v1/rotations?id=nobody&wait=30", "").want(t, 404, `"code":"unknown_rotation"`, "nobody")
}

// An endless wait is cut, and asks the journal at an even pace.
func TestPollIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control := newFake()
		control.set("a", func(*rotation.Rotation) {})
		h := New(Options{Control: control, Loopback: true})
		ask := func(ctx context.Context, wait string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(ctx, "GET", "http://127.0.0.1/admin/v1/rotations?id=a&wait="+wait, nil)
			r.RemoteAddr = "127.0.0.1:1"
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		began := time.Now()
		if w := ask(t.Context(), "100000"); w.Code != 200 || time.Since(began) != maxWait {
			t.Errorf("%d after %v", w.Code, time.Since(began))
		}
		if control.reads > int(maxWait/pollEvery)+2 {
			t.Errorf("the journal was read %d times", control.reads)
		}

		// Those who wait are bounded, too, and a client that goes away makes room.
		ctx, cancel := context.WithCancel(t.Context())
		for range maxPolls {
			go ask(ctx, "60")
		}
		synctest.Wait()
		if w := ask(t.Context(), "60"); w.Code != 503 {
			t.Errorf("one more than may wait: %d", w.Code)
		}
		if w := ask(t.Context(), "0"); w.Code != 200 {
			t.Errorf("one that does not wait: %d", w.Code)
		}
		cancel()
		synctest.Wait()
		if w := ask(t.Context(), "1"); w.Code != 200 {
			t.Errorf("after the others went away: %d", w.Code)
		}
	})
}

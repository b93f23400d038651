package gateway_test

import (
	"io"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"keyway/internal/threat"
)

// deadlined remembers until when its answer has to be written.
type deadlined struct {
	*httptest.ResponseRecorder
	till time.Time
}

func (d *deadlined) SetWriteDeadline(till time.Time) error { d.till = till; return nil }

// Who sends requests and reads no answer shall not keep a connection for ever.
func TestAnswersAreWrittenInTime(t *testing.T) {
	threat.Covers(t, 71)
	w := start(t)
	for _, target := range []string{"/auth/session", "/auth/verify", "/api/notes", "/nowhere", "/health/live"} {
		answer := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		began := time.Now()
		w.gateway.ServeHTTP(answer, httptest.NewRequest("GET", target, nil))
		if left := answer.till.Sub(began); left < time.Second || left > time.Minute {
			t.Errorf("%s, %d: has %v to be written", target, answer.Code, left)
		}
	}
}

// Somebody sends more than a route takes, and begins to read when he has sent it: he
// shall learn why, and not that the connection was reset.
func TestWhatIsTooLargeIsAnsweredBeforeTheConnectionEnds(t *testing.T) {
	threat.Covers(t, 71)
	w := start(t, func(w *world) { w.settings.BodyBytes = 1 << 10 })
	c, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	var sent sync.WaitGroup
	sent.Go(func() {
		_, _ = io.WriteString(c, "POST /public/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := "1000\r\n" + string(make([]byte, 0x1000)) + "\r\n"
		for range 64 { // as much as net/http is ready to throw away
			if _, err := io.WriteString(c, chunk); err != nil {
				return
			}
		}
	})
	sent.Wait()
	answer, err := io.ReadAll(c)
	if err != nil || len(answer) == 0 || string(answer[9:12]) != "413" {
		t.Errorf("got %.200q, %v", answer, err)
	}
}

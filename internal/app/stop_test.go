package app

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyway/internal/threat"
)

// slow is an upstream that answers when it is told to, and streams for ever.
type slow struct {
	*httptest.Server
	asked  chan struct{}
	answer chan struct{}
}

func slowUpstream(t *testing.T) *slow {
	s := &slow{asked: make(chan struct{}, 10), answer: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: first\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		s.asked <- struct{}{}
		select {
		case <-s.answer:
			fmt.Fprint(w, "worth the wait")
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *slow) routes() string {
	return "services: {s: {base_url: \"" + s.URL + "\"}}\nroutes:\n" +
		"  - {id: slow, path: /slow, target_service: s, auth: none}\n" +
		"  - {id: stream, path: /stream, target_service: s, auth: none, streaming: true}\n"
}

type answer struct {
	status int
	body   string
}

func TestStop(t *testing.T) {
	ask := func(c *http.Client, url string) <-chan answer {
		got := make(chan answer, 1)
		go func() {
			status, body := get(c, url)
			got <- answer{status, body}
		}()
		return got
	}

	t.Run("what is under way finishes, readiness turns first, streams end", func(t *testing.T) {
		threat.Covers(t, 69)
		before := goleak.IgnoreCurrent()
		upstream, c := slowUpstream(t), client(t)
		// Longer than the test takes: what ends earlier does so because it was done.
		gateway := start(t, options(t, env(t, map[string]string{"BFF_SHUTDOWN_GRACE": "60"}), managed, upstream.routes()))
		underWay := ask(c, gateway.Public+"/slow")
		<-upstream.asked
		stream, err := c.Get(gateway.Public + "/stream")
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Body.Close()
		lines := bufio.NewScanner(stream.Body)
		if !lines.Scan() || lines.Text() != "data: first" {
			t.Fatalf("the stream begins with %q, %v", lines.Text(), lines.Err())
		}

		gateway.cancel()
		until(t, "readiness turns", func() bool {
			status, _ := get(c, gateway.Admin+"/health/ready")
			return status == http.StatusServiceUnavailable
		})
		for lines.Scan() { // until the gateway ends it
		}
		until(t, "no new connections", func() bool {
			fresh := client(t)
			status, _ := get(fresh, gateway.Public+"/health/live")
			fresh.CloseIdleConnections()
			return status == 0
		})
		select {
		case a := <-underWay:
			t.Fatalf("answered before the upstream did: %+v", a)
		default:
		}
		close(upstream.answer)
		if a := <-underWay; a != (answer{200, "worth the wait"}) {
			t.Errorf("the request under way got %+v", a)
		}
		if err := gateway.wait(t); err != nil {
			t.Errorf("Run returned %v", err)
		}
		c.CloseIdleConnections()
		upstream.Close()
		goleak.VerifyNone(t, before)
	})

	t.Run("what takes too long is cut", func(t *testing.T) {
		threat.Covers(t, 69)
		upstream, c := slowUpstream(t), client(t)
		gateway := start(t, options(t, env(t, map[string]string{"BFF_SHUTDOWN_GRACE": "50ms"}), managed, upstream.routes()))
		underWay := ask(c, gateway.Public+"/slow")
		<-upstream.asked
		if err := gateway.stop(t); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if a := <-underWay; a.status == 200 {
			t.Errorf("the request that was cut got %+v", a)
		}
	})

	t.Run("for the drain delay all is still served", func(t *testing.T) {
		threat.Covers(t, 69)
		c := client(t)
		gateway := start(t, options(t, env(t, map[string]string{"BFF_DRAIN_DELAY": "300ms"}), managed, ""))
		began := time.Now()
		gateway.cancel()
		until(t, "readiness turns", func() bool {
			status, _ := get(c, gateway.Public+"/health/ready")
			return status == http.StatusServiceUnavailable
		})
		if status, body := get(c, gateway.Public+"/auth/session"); status != 200 {
			t.Errorf("during the drain delay: %d %s", status, body)
		}
		if err := gateway.wait(t); err != nil || time.Since(began) < 300*time.Millisecond {
			t.Errorf("Run returned %v after %v", err, time.Since(began))
		}
	})
}

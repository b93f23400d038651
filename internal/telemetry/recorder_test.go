package telemetry

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// recorded serves one request through a Recorder over a real connection and
// returns what it remembered, and the raw response.
func recorded(t *testing.T, h func(r *Recorder)) (status int, bytes int64, raw string) {
	t.Helper()
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := Record(w)
		defer close(done)
		h(&r)
		status, bytes = r.Status(), r.Bytes()
	}))
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	<-done
	return status, bytes, string(all)
}

func TestRecorder(t *testing.T) {
	for name, c := range map[string]struct {
		serve  func(r *Recorder)
		status int
		bytes  int64
	}{
		"nothing":           {func(*Recorder) {}, 0, 0},
		"status":            {func(r *Recorder) { r.WriteHeader(404) }, 404, 0},
		"body alone":        {func(r *Recorder) { _, _ = io.WriteString(r, "hello") }, 200, 5},
		"first status wins": {func(r *Recorder) { r.WriteHeader(201); _, _ = r.Write([]byte("x")) }, 201, 1},
		"early hints":       {func(r *Recorder) { r.WriteHeader(103); r.WriteHeader(204) }, 204, 0},
		"read from":         {func(r *Recorder) { _, _ = io.Copy(r, strings.NewReader("hello")) }, 200, 5},
		"flush":             {func(r *Recorder) { _ = http.NewResponseController(r).Flush() }, 200, 0},
		"hijack": {func(r *Recorder) {
			c, _, err := http.NewResponseController(r).Hijack()
			if err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
				c.Close()
			}
		}, 101, 0},
	} {
		t.Run(name, func(t *testing.T) {
			status, bytes, raw := recorded(t, c.serve)
			if status != c.status || bytes != c.bytes {
				t.Errorf("remembered %d and %d bytes, want %d and %d", status, bytes, c.status, c.bytes)
			}
			if c.status != 0 && !strings.Contains(raw, " "+http.StatusText(c.status)+"\r\n") {
				t.Errorf("sent %q", raw)
			}
		})
	}
}

func TestRecorderOverAPlainWriter(t *testing.T) {
	r := Record(plainWriter{})
	rc := http.NewResponseController(&r)
	if err := rc.Flush(); err == nil || r.Started() {
		t.Errorf("flushed what can't be: %v", err)
	}
	if _, _, err := rc.Hijack(); err == nil || r.Started() {
		t.Errorf("hijacked what can't be: %v", err)
	}
	if err := rc.SetWriteDeadline(time.Now()); err == nil {
		t.Error("set a deadline that can't be")
	}
}

type plainWriter struct{}

func (plainWriter) Header() http.Header         { return http.Header{} }
func (plainWriter) WriteHeader(int)             {}
func (plainWriter) Write(p []byte) (int, error) { return len(p), nil }

func TestDeadlinesReachThrough(t *testing.T) {
	_, _, raw := recorded(t, func(r *Recorder) {
		if err := http.NewResponseController(r).SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(r, "ok")
	})
	if res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil); err != nil || res.StatusCode != 200 {
		t.Errorf("%v %q", err, raw)
	}
}

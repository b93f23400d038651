package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"keyway/internal/demo/api"
	"keyway/internal/threat"
)

func TestTicksComeOncePerSecondUntilTheClientGoes(t *testing.T) {
	threat.Covers(t, 33)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, leave := context.WithTimeout(t.Context(), 3*time.Second+500*time.Millisecond) // bubble time
		defer leave()
		w := do(newAPI(api.Options{}), request("GET", "/ticks", "").WithContext(ctx))

		if took := time.Since(start); took != 3*time.Second+500*time.Millisecond {
			t.Errorf("the client stayed 3.5 s, the stream %v", took)
		}
		if ct := w.Header().Get("Content-Type"); ct != "text/event-stream" || !w.Flushed {
			t.Errorf("Content-Type = %q, flushed %v", ct, w.Flushed)
		}
		events := strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n")
		if len(events) != 4 {
			t.Fatalf("the first tick comes at once, then one a second; got %d in 3.5 s", len(events))
		}
		for i, event := range events {
			id, data, _ := strings.Cut(event, "\nevent: tick\ndata: ")
			var tick api.Tick
			err := json.Unmarshal([]byte(data), &tick)
			if n := i + 1; err != nil || id != "id: "+strconv.Itoa(n) || tick.N != uint64(n) ||
				tick.Time.Sub(start) != time.Duration(i)*time.Second {
				t.Errorf("event %q: %+v %v", event, tick, err)
			}
		}
	})
}

func TestTicksCountOn(t *testing.T) {
	for last, want := range map[string]string{"41": "id: 42\n", "x": "id: 1\n", "-1": "id: 1\n", "1e9": "id: 1\n"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // one tick, and the client is gone
		w := do(newAPI(api.Options{}), request("GET", "/ticks", "", header("Last-Event-ID", last)).WithContext(ctx))
		if !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("Last-Event-ID %q: %q", last, w.Body)
		}
	}
}

// serve runs the API on a real socket; stop ends its streams, as on shutdown.
func serve(t *testing.T, o api.Options) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	srv := httptest.NewUnstartedServer(newAPI(o))
	srv.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	srv.Start()
	t.Cleanup(func() { cancel(); srv.Close() })
	return srv.URL, cancel
}

func TestTicksEndWithTheServer(t *testing.T) {
	url, stop := serve(t, api.Options{TickInterval: time.Millisecond})
	r, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/ticks", nil)
	r.Header.Set("Authorization", "Bearer "+adaToken)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if lines.Text() == "id: 3" {
			stop() // and the loop ends, because the stream does
		}
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream broke off instead of ending: %v", err)
	}
}

func dial(t *testing.T, url, token string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	return websocket.Dial(t.Context(), url+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{
		"Authorization": {"Bearer " + token},
		"Origin":        {"https://bff.example"}, // a gateway's public name, not this server's
	}})
}

func TestWebSocketTicksAndEchoes(t *testing.T) {
	url, stop := serve(t, api.Options{TickInterval: time.Millisecond})
	c, _, err := dial(t, url, adaToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	var ticks uint64
	for echoed := false; !echoed || ticks < 3; {
		_, message, err := c.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if string(message) == "hello" {
			echoed = true
			continue
		}
		var tick api.Tick
		if err := json.Unmarshal(message, &tick); err != nil || tick.N != ticks+1 {
			t.Fatalf("message %q after tick %d: %v", message, ticks, err)
		}
		ticks = tick.N
	}
	stop()
	for {
		if _, _, err := c.Read(t.Context()); err != nil {
			return // the connection ended with the server
		}
	}
}

func TestWebSocketRefusals(t *testing.T) {
	threat.Covers(t, 43)
	url, _ := serve(t, api.Options{})
	if _, res, err := dial(t, url, "made-up"); err == nil || res == nil || res.StatusCode != 401 {
		t.Errorf("made-up token: %v %v", res, err)
	}
	w := do(newAPI(api.Options{}), request("GET", "/ws", ""))
	wantProblem(t, w, 426, "upgrade_required")

	c, _, err := dial(t, url, adaToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(t.Context(), websocket.MessageText, make([]byte, 5<<10)); err != nil {
		t.Fatal(err)
	}
	for {
		_, _, err := c.Read(t.Context())
		if err == nil {
			continue // the first tick
		}
		if got := websocket.CloseStatus(err); got != websocket.StatusMessageTooBig {
			t.Errorf("a message over the limit: %v", err)
		}
		return
	}
}

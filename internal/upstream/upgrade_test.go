package upstream

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"keyway/internal/problem"
	"keyway/internal/threat"
)

const (
	handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	switched  = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSet-Cookie: bff_session=evil\r\nKeep-Alive: evil\r\nX-App: 1\r\n\r\n"
)

func streaming(_ *http.Request, req *Request) { req.Streaming = true }

func TestOtherUpgradesAreNotTunnelled(t *testing.T) {
	for name, fields := range map[string]string{
		"h2c":            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"h2c, unlisted":  "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"h2c in a list":  "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
		"two upgrades":   "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
		"spelled":        "Connection: Upgrade\r\nUpgrade_: h2c\r\nHTTP2_Settings: AA\r\n",
		"TLS":            "Connection: upgrade\r\nUpgrade: TLS/1.2\r\n",
		"no connection":  "Upgrade: websocket\r\n",
		"anything":       "Connection: Upgrade\r\nUpgrade: x\r\n",
		"named websock":  "Connection: Upgrade\r\nUpgrade: websocket2\r\n",
		"empty":          "Connection: Upgrade\r\nUpgrade:\r\n",
		"proxy spelling": "Proxy-Connection: Upgrade\r\nUpgrade: h2c\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 36)
			base, requests := recorder(t)
			f := newFront(t, Service{BaseURL: base}, streaming)
			conn := f.dial(t)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n"+fields+"\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			r := bufio.NewReader(conn)
			res, _ := readResponse(t, r)
			if res.StatusCode != 200 {
				t.Errorf("answered %s", res.Status)
			}
			more, _ := io.ReadAll(r)
			if asked := name != "spelled"; res.Close != asked || (len(more) == 0) != asked {
				t.Errorf("closes: %v, answered after it: %q", res.Close, more)
			}
			got := receive(t, requests, "the request")
			for _, field := range got.fields {
				if l := strings.ToLower(field); strings.Contains(l, "upgrade") || strings.Contains(l, "settings") || strings.HasPrefix(l, "connection") {
					t.Errorf("%q arrived", field)
				}
			}
		})
	}
	t.Run("not printable", func(t *testing.T) {
		threat.Covers(t, 36)
		base, requests := recorder(t)
		f := newFront(t, Service{BaseURL: base}, streaming)
		res, body := f.send(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: \xff\r\n\r\n")
		wantProblem(t, res, body, problem.UnsupportedUpgrade)
		if len(requests) > 0 || !res.Close {
			t.Errorf("%d requests arrived, closes: %v", len(requests), res.Close)
		}
	})
}

func TestHandshakesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		raw    string
		decide func(*http.Request, *Request)
	}{
		"a route that does not stream": {handshake, nil},
		"other version":                {strings.Replace(handshake, ": 13", ": 12", 1), streaming},
		"no version":                   {strings.Replace(handshake, "Sec-WebSocket-Version: 13\r\n", "", 1), streaming},
		"short key":                    {strings.Replace(handshake, "dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 1), streaming},
		"junk key":                     {strings.Replace(handshake, "dGhlIHNhbXBsZSBub25jZQ==", "!!!!!!!!!!!!!!!!!!!!!!==", 1), streaming},
		"no key":                       {strings.Replace(handshake, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 1), streaming},
		"POST":                         {strings.Replace(handshake, "GET", "POST", 1), streaming},
		"HTTP/1.0":                     {strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1), streaming},
		"with a body":                  {strings.Replace(handshake, "\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx", 1), streaming},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 36)
			base, requests := recorder(t)
			f := newFront(t, Service{BaseURL: base}, c.decide)
			conn := f.dial(t)
			_, _ = io.WriteString(conn, c.raw+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
			r := bufio.NewReader(conn)
			res, body := readResponse(t, r)
			wantProblem(t, res, body, problem.UnsupportedUpgrade)
			if more, _ := io.ReadAll(r); len(more) > 0 {
				t.Errorf("the connection was used again: %q", more)
			}
			if len(requests) > 0 {
				t.Errorf("the upstream saw %q", (<-requests).line)
			}
		})
	}
}

func TestUpstreamsThatDontSwitch(t *testing.T) {
	t.Run("200 to an upgrade", func(t *testing.T) {
		threat.Covers(t, 36)
		connections := make(chan string, 10)
		base := listen(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			for {
				s, err := readSeen(r)
				if err != nil {
					connections <- "closed"
					return
				}
				connections <- s.line
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
			}
		})
		f := newFront(t, Service{BaseURL: base}, streaming)
		conn := f.dial(t)
		_, _ = io.WriteString(conn, handshake+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
		r := bufio.NewReader(conn)
		if res, body := readResponse(t, r); res.StatusCode != 200 || body != "no" || !res.Close {
			t.Errorf("answered %s %q, closes: %v", res.Status, body, res.Close)
		}
		if more, _ := io.ReadAll(r); len(more) > 0 {
			t.Errorf("the client's connection was used again: %q", more)
		}
		for _, want := range []string{"GET /ws HTTP/1.1", "closed"} {
			if got := receive(t, connections, want); got != want {
				t.Errorf("the upstream's connection: %q, want %q", got, want)
			}
		}
	})
	for name, c := range map[string]struct{ request, answer string }{
		"101 to a plain request":                    {get, switched},
		"101 to a plain request, no upgrade named":  {get, "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
		"101 to another protocol":                   {handshake, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"},
		"101 without naming one":                    {handshake, "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
		"101 without the proof that it understood":  {handshake, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"},
		"101 with the proof for another key":        {handshake, strings.Replace(switched, "s3pPLMBi", "S3pPLMBi", 1)},
		"101 with the key for a proof":              {handshake, strings.Replace(switched, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "dGhlIHNhbXBsZSBub25jZQ==", 1)},
		"101 with two proofs":                       {handshake, strings.Replace(switched, "Set-Cookie", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSet-Cookie", 1)},
		"101 to h2c when the client asked for that": {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 36)
			freed := make(chan bool, 1)
			base := listen(t, func(conn net.Conn) {
				r := bufio.NewReader(conn)
				_, _ = readSeen(r)
				_, _ = io.WriteString(conn, c.answer)
				_, _ = r.ReadByte()
				freed <- true
			})
			f := newFront(t, Service{BaseURL: base}, streaming)
			res, body := f.send(t, c.request)
			wantProblem(t, res, body, problem.UpstreamFailed)
			receive(t, freed, "the upstream's connection to be closed")
		})
	}
}

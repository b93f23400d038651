package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// Tick is the data of one event of /ticks, and a text message of /ws.
type Tick struct {
	N    uint64    `json:"n"`
	Time time.Time `json:"time"`
}

// A reader who does not read holds a connection and a goroutine; after this time
// without progress it is let go.
const writeTimeout = 10 * time.Second

// maxFrame is how many bytes a message to /ws may have.
const maxFrame = 4 << 10

// streamTicks sends server-sent events (HTML, section 9.2): the first at once,
// then one per interval, until the client goes. A client that comes back with
// Last-Event-ID is counted on.
func (s *server) streamTicks(w http.ResponseWriter, r *http.Request, _ Subject) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	// Asks proxies that buffer by default, such as nginx, not to.
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	// A malformed Last-Event-ID starts from one, like none.
	n, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 32)
	out := http.NewResponseController(w)

	clock := time.NewTicker(s.opts.TickInterval)
	defer clock.Stop()
	for {
		n++
		// Not every ResponseWriter has deadlines; those of net/http do.
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := fmt.Fprintf(w, "id: %d\nevent: tick\ndata: %s\n\n", n, s.tick(n)); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-clock.C:
		}
	}
}

func (s *server) tick(n uint64) []byte {
	b, _ := json.Marshal(Tick{N: n, Time: s.opts.Now().UTC()})
	return b
}

// serveWebSocket sends a tick at once and then one per interval, and gives back
// every message that it receives as it came (RFC 6455). It ends when either side
// closes, or when the request's context does.
func (s *server) serveWebSocket(w http.ResponseWriter, r *http.Request, _ Subject) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		writeProblem(w, r, problem{http.StatusUpgradeRequired, "upgrade_required", "Connect to this resource with a WebSocket."})
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		// The Origin check guards servers that a browser reaches with a cookie. This
		// one has been shown a bearer token, which no foreign page can make a browser
		// send; and behind a gateway, Origin and Host differ. Checking the Origin is
		// the duty of the gateway, which does see the cookie.
		InsecureSkipVerify: true,
	})
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(maxFrame)

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	ticked := make(chan struct{})
	go func() {
		defer close(ticked)
		defer cancel()
		s.sendTicks(ctx, c)
	}()
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			break
		}
		if err := write(ctx, c, kind, message); err != nil {
			break
		}
	}
	cancel()
	<-ticked
}

func (s *server) sendTicks(ctx context.Context, c *websocket.Conn) {
	clock := time.NewTicker(s.opts.TickInterval)
	defer clock.Stop()
	for n := uint64(1); ; n++ {
		if err := write(ctx, c, websocket.MessageText, s.tick(n)); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
	}
}

func write(ctx context.Context, c *websocket.Conn, kind websocket.MessageType, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.Write(ctx, kind, message)
}

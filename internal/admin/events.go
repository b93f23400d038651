package admin

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	maxStreams    = 16               // of events, at once
	heartbeat     = 15 * time.Second // so that proxies and pages know that it lives
	streamWrite   = 10 * time.Second // how long a reader may take what is written to it
	streamBacklog = 64               // messages that a slow reader may be behind
)

// message is one server-sent event.
type message struct {
	event string
	data  []byte // one line of JSON
}

func (m message) bytes() []byte {
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", m.event, bytes.ReplaceAll(m.data, []byte("\n"), []byte(" ")))
}

// events tells what happens while it happens (server-sent events, HTML Living
// Standard section 9.2). What is known is sent first, so that a page that comes
// back needs nothing else. A session that ends ends its streams; that a page is
// open does not keep a session from being idle.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) error {
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		return errStreams
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx would hold it back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	s := h.hub.join()
	defer h.hub.leave(s)
	return h.tell(r.Context(), func(p []byte) error {
		_ = control.SetWriteDeadline(time.Now().Add(streamWrite))
		if _, err := w.Write(p); err != nil {
			return err
		}
		return control.Flush()
	}, s, func() bool { _, p := h.admit(r, false); return p == nil })
}

// tell writes what comes until the reader is gone, too slow, or not admitted any
// more. It never fails to its caller: the answer has begun.
func (h *Handler) tell(ctx context.Context, write func([]byte) error, s *stream, admitted func() bool) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if write([]byte("retry: 2000\n\n")) != nil {
		return nil
	}
	for {
		var next []byte
		select {
		case <-ctx.Done():
			return nil
		case <-s.gone:
			return nil
		case m := <-s.messages:
			next = m.bytes()
		case <-beat.C:
			next = []byte(": alive\n\n")
		}
		if !admitted() {
			_ = write(message{"over", []byte(`{}`)}.bytes())
			return nil
		}
		if write(next) != nil {
			return nil
		}
	}
}

// busyError is answered with 503: too much of it goes on already.
type busyError string

func (e busyError) Error() string { return string(e) }

var (
	errVerifying = busyError(fmt.Sprintf("%d checklists are waited for already", maxVerifies))
	errStreams   = busyError(fmt.Sprintf("%d streams of events are open already", maxStreams))
)

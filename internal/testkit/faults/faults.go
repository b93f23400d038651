package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Link is a TCP connection's way through a proxy that can be made to fail. Its
// methods are for the test's goroutine.
type Link struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// Proxy starts a working link to upstream (host:port), which ends with the
// test. The upstream need not be there yet.
func Proxy(t testing.TB, upstreamAddr string) *Link {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &Link{t, toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", upstreamAddr)}
	if err := l.proxy.Start(); err != nil {
		t.Fatalf("proxy to %s: %v", upstreamAddr, err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

// Addr is the host:port to connect to. It stays the same through Down and Up.
func (l *Link) Addr() string { return l.proxy.Listen }

// Down refuses new connections and closes the open ones.
func (l *Link) Down() { l.proxy.Stop() }

// Up ends every fault. Connections that were silent are closed; slow ones go on.
func (l *Link) Up() {
	l.t.Helper()
	l.proxy.Toxics.ResetToxics(context.Background())
	if !l.proxy.Enabled {
		if err := l.proxy.Start(); err != nil {
			l.t.Fatalf("proxy does not come back: %v", err)
		}
	}
}

// Latency holds back each answer for the given time.
func (l *Link) Latency(d time.Duration) {
	l.t.Helper()
	l.add("latency", "downstream", map[string]any{"latency": d.Milliseconds()})
}

// Jitter holds back each answer for about the given time, more or less.
func (l *Link) Jitter(d, moreOrLess time.Duration) {
	l.t.Helper()
	l.add("latency", "downstream", map[string]any{"latency": d.Milliseconds(), "jitter": moreOrLess.Milliseconds()})
}

// Truncate ends each connection after so many bytes of answers, in order: what is
// missing of the last one is seen only by who knows how long it was to be.
func (l *Link) Truncate(bytes int) {
	l.t.Helper()
	l.add("limit_data", "downstream", map[string]any{"bytes": bytes})
}

// ResetAfter ends connections with a TCP RST so long after something was sent on
// them, whatever of the answer has come by then. Answers crawl, so that it is
// mostly in their midst.
func (l *Link) ResetAfter(d time.Duration) {
	l.t.Helper()
	l.add("bandwidth", "downstream", map[string]any{"rate": 1})
	l.add("reset_peer", "upstream", map[string]any{"timeout": d.Milliseconds()})
}

// Trickle lets so many kilobytes of answers through in a second.
func (l *Link) Trickle(kilobytes int) {
	l.t.Helper()
	l.add("bandwidth", "downstream", map[string]any{"rate": kilobytes})
}

// SlowClose holds back the end of each connection.
func (l *Link) SlowClose(d time.Duration) {
	l.t.Helper()
	l.add("slow_close", "downstream", map[string]any{"delay": d.Milliseconds()})
}

// Reset ends connections with a TCP RST as soon as something is sent on them.
func (l *Link) Reset() {
	l.t.Helper()
	l.add("reset_peer", "upstream", map[string]any{"timeout": 0})
	l.add("reset_peer", "downstream", map[string]any{"timeout": 0})
}

// HalfOpen takes connections, keeps the open ones, and lets nothing through in
// either direction: what a client sees whose peer has lost its power.
func (l *Link) HalfOpen() {
	l.t.Helper()
	l.add("timeout", "upstream", map[string]any{"timeout": 0})
	l.add("timeout", "downstream", map[string]any{"timeout": 0})
}

func (l *Link) add(kind, stream string, attributes map[string]any) {
	l.t.Helper()
	doc, err := json.Marshal(map[string]any{"type": kind, "stream": stream, "attributes": attributes})
	if err == nil {
		_, err = l.proxy.Toxics.AddToxicJson(bytes.NewReader(doc))
	}
	if err != nil {
		l.t.Fatalf("add the fault %s: %v", kind, err)
	}
}

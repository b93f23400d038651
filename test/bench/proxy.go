package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"keyway/internal/session/memory"
)

// proxy measures a proxied GET with a session, beside a bare reverse proxy to the
// same upstream.
func (b *bench) proxy() error {
	b.say("proxied call …")
	subjects, closeAll, err := b.proxies()
	if err != nil {
		return err
	}
	defer closeAll()
	results, err := b.inProcess(subjects)
	if err != nil {
		return err
	}
	t := table{
		Title:   "Proxied call: the handler called in this process, the upstream in another",
		Columns: []column{{"ns_op", "ns/op", 0}, {"bytes_op", "B/op", 0}, {"allocs_op", "allocs/op", 0}},
		Notes:   []string{"ns/op is time, most of it spent waiting for the upstream; allocations are the transport's too."},
	}
	for i, r := range results {
		t.Rows = append(t.Rows, row{subjects[i].name, []float64{
			nsPerOp(r), float64(r.AllocedBytesPerOp()), float64(r.AllocsPerOp()),
		}})
	}
	rounds, err := b.overSockets(subjects)
	if err != nil {
		return err
	}
	b.report.Tables = append(b.report.Tables, t,
		socketTable("Proxied call: over loopback sockets (aim: at most 1.25 × the CPU of the bare proxy)", subjects, rounds))
	return nil
}

func (b *bench) proxies() (all []subject, closeAll func(), err error) {
	k, err := makeKeys()
	if err != nil {
		return nil, nil, err
	}
	quiet, f, err := nullLog(slog.LevelWarn)
	if err != nil {
		return nil, nil, err
	}
	store := memory.Open(memory.Options{})
	closeAll = func() { _ = store.Close(); _ = f.Close() }
	gatewayWith := func(name, path string, o options) error {
		o.upstream = b.helper.upstream
		r, err := b.replica(store, k, o)
		if err != nil {
			return err
		}
		last := closeAll
		closeAll = func() { r.close(); last() }
		cookie, _, err := r.signIn(b.ctx, record("ada"))
		if err != nil {
			return err
		}
		all = append(all, subject{name: name, handler: r.gateway, wrap: guard, request: same(browserRequest("GET", path, cookie))})
		return nil
	}
	target := &url.URL{Scheme: "http", Host: b.helper.upstream}
	bare := same(bareRequest())
	all = append(all,
		subject{name: "bare ReverseProxy", handler: bareProxy(target, nil), request: bare},
		subject{name: "bare, with a pool of buffers", handler: bareProxy(target, &buffers{}), request: bare},
	)
	for _, one := range []struct {
		name, path string
		o          options
	}{
		{"gateway, session", proxiedTarget, options{}},
		{"gateway, session, log level warn", proxiedTarget, options{log: quiet}},
		{"gateway, auth none", publicTarget, options{}},
	} {
		if err := gatewayWith(one.name, one.path, one.o); err != nil {
			closeAll()
			return nil, nil, err
		}
	}
	return all, closeAll, nil
}

const (
	proxiedTarget = "/api/notes/7b0d?limit=10"
	publicTarget  = "/public/7b0d?limit=10" // auth: none
)

// bareRequest is as long as that with a session.
func bareRequest() *http.Request {
	return browserRequest("GET", "/notes/7b0d?limit=10", "other=0123456789abcdef0123456789abcdef0123456789abcdef0123456789")
}

// bareProxy is what one would write by hand, with the transport that a service of
// the gateway gets.
func bareProxy(target *url.URL, pool httputil.BufferPool) http.Handler {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &httputil.ReverseProxy{
		Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetURL(target) },
		BufferPool: pool,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, DisableCompression: true,
			MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: 30 * time.Second,
			ExpectContinueTimeout: time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// buffers implements httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if kept, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return kept[:]
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }

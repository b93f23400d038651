package storm

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"
)

// Headers that the balancer adds, for the report.
const (
	replicaHeader = "X-Storm-Replica"
	cutHeader     = "X-Storm-Cut"
)

// balancer sends each request to the next replica that said last that it is
// ready, whatever session it is of. As load balancers do, it tries the next one
// when a replica does not take the connection, for requests that may be repeated.
type balancer struct {
	replicas []*replica
	next     atomic.Uint64
	pool     *http.Transport
}

func newBalancer(replicas []*replica) *balancer {
	return &balancer{replicas: replicas, pool: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
}

func (b *balancer) handler() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "replica"
			r.Out.Host = r.In.Host
		},
		Transport:     b,
		FlushInterval: -1,
		ErrorLog:      log.New(discard{}, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if lost, ok := errors.AsType[*cutError](err); ok {
				w.Header().Set(replicaHeader, lost.replica)
				if lost.killed {
					w.Header().Set(cutHeader, lost.Error())
				}
			}
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
}

// cutError is a request that a replica did not answer.
type cutError struct {
	replica string
	killed  bool // by the test
	err     error
}

func (e *cutError) Error() string { return "replica " + e.replica + ": " + e.err.Error() }

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	first := b.next.Add(1)
	var last error
	for _, candidates := range [2]func(*replica) bool{(*replica).isReady, func(p *replica) bool { return !p.isReady() }} {
		for i := range b.replicas {
			p := b.replicas[(first+uint64(i))%uint64(len(b.replicas))]
			if !candidates(p) {
				continue
			}
			from := time.Now()
			resp, err := b.pool.RoundTrip(to(r, p))
			if err == nil {
				resp.Header.Set(replicaHeader, p.name)
				return resp, nil
			}
			last = &cutError{p.name, p.wasDown(from, time.Now()), err}
			refused := errors.Is(err, syscall.ECONNREFUSED)
			if refused {
				p.ready.Store(false)
			}
			if r.Context().Err() != nil || !refused || r.Method != http.MethodGet && r.Method != http.MethodHead {
				return nil, last
			}
		}
	}
	return nil, last
}

func to(r *http.Request, p *replica) *http.Request {
	out := r.Clone(r.Context())
	out.URL = &url.URL{Scheme: "http", Host: p.addr, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	return out
}

// check asks every replica now and then whether it is ready.
func (b *balancer) check(ctx context.Context) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for pause(ctx, 200*time.Millisecond) {
		for _, p := range b.replicas {
			p.ready.Store(p.probe(client))
		}
	}
}

// listen serves the balancer at the address that users know.
func (b *balancer) listen(addr string) (*http.Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: b.handler(), ErrorLog: log.New(discard{}, "", 0)}
	go func() { _ = s.Serve(l) }()
	return s, nil
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

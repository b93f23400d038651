package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"keyway/internal/secret"
)

// The first two benchmarks proxy the same call to the same upstream, straight into a
// handler so that neither the client nor the listener blurs the ratio, and those named
// Alone to none, which leaves the proxy's own work. Compare them in one run:
// go test -run '^$' -bench 'Forward|Bare' -benchmem.

func BenchmarkForward(b *testing.B) {
	upstream := benchUpstream(b)
	p, err := New(Options{Services: []Service{{Name: "api", BaseURL: upstream}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	policy := NewTokenPolicy(Passthrough, "", nil)
	token := secret.NewValue(make([]byte, 0, 800))
	raw := make([]byte, 800)
	for i := range raw {
		raw[i] = 'a'
	}
	token = secret.NewValue(raw)
	ip := netip.MustParseAddr("192.0.2.7")
	benchProxy(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := p.Forward(w, r, Request{
			Service: "api", Path: r.URL.Path, RawQuery: r.URL.RawQuery, Principal: ada, CorrelationID: "0123456789abcdef0123456789abcdef",
			Token: policy, AccessToken: token, ClientIP: ip, Scheme: "https", Host: "app.example",
		})
		if err != nil {
			b.Error(err)
		}
	}))
}

func BenchmarkBareReverseProxy(b *testing.B) {
	target, err := url.Parse(benchUpstream(b))
	if err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: maxIdlePerHost, DisableCompression: true}
	b.Cleanup(transport.CloseIdleConnections)
	benchProxy(b, &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			pr.SetXForwarded()
		},
		Transport: transport,
	})
}

// instead answers in place of a transport's connection, so that what is measured is
// what the proxy does itself.
type instead struct{ body string }

func (i instead) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(i.body)),
		Header: http.Header{"Content-Type": {"application/json"}, "Content-Length": {"1024"}, "Date": {"Mon, 01 Jan 2024 00:00:00 GMT"}},
		Body:   io.NopCloser(strings.NewReader(i.body)),
	}, nil
}

func BenchmarkForwardAlone(b *testing.B) {
	p, err := New(Options{Services: []Service{{Name: "api", BaseURL: "http://api"}}})
	if err != nil {
		b.Fatal(err)
	}
	s := p.services["api"]
	s.scheme = "instead"
	s.transport.RegisterProtocol(s.scheme, instead{strings.Repeat("x", 1024)})
	policy, token := NewTokenPolicy(Passthrough, "", nil), secret.NewValue([]byte(strings.Repeat("t", 1000)))
	ip := netip.MustParseAddr("192.0.2.7")
	benchProxy(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := p.Forward(w, r, Request{
			Service: "api", Path: r.URL.Path, RawQuery: r.URL.RawQuery, Principal: ada, CorrelationID: "0123456789abcdef0123456789abcdef",
			Token: policy, AccessToken: token, ClientIP: ip, Scheme: "https", Host: "app.example",
		})
		if err != nil {
			b.Error(err)
		}
	}))
}

func BenchmarkBareReverseProxyAlone(b *testing.B) {
	transport := &http.Transport{}
	transport.RegisterProtocol("instead", instead{strings.Repeat("x", 1024)})
	benchProxy(b, &httputil.ReverseProxy{
		Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetURL(&url.URL{Scheme: "instead", Host: "api"}) },
		Transport:  transport,
		BufferPool: buffers{},
	})
}

func benchUpstream(b *testing.B) string {
	body := make([]byte, 1024)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1024")
		_, _ = w.Write(body)
	}))
	b.Cleanup(s.Close)
	return s.URL
}

func benchProxy(b *testing.B, h http.Handler) {
	r := httptest.NewRequest("GET", "/api/notes?limit=10", nil)
	r.Header = http.Header{
		"Accept": {"application/json"}, "Accept-Encoding": {"gzip, br"}, "Accept-Language": {"en"}, "User-Agent": {"Mozilla/5.0"},
		"Cookie": {"theme=dark; __Host-bff_session=v1.0123456789012345678901234567890123456789"}, "Referer": {"https://app.example/"},
		"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "X-Csrf-Token": {"abc"},
		"Cache-Control": {"no-cache"}, "Origin": {"https://app.example"},
	}
	b.ReportAllocs()
	for b.Loop() {
		w := discardWriter{header: make(http.Header, 8)}
		h.ServeHTTP(&w, r)
		if w.status != 200 || w.n != 1024 {
			b.Fatalf("status %d, %d bytes", w.status, w.n)
		}
	}
}

type discardWriter struct {
	header    http.Header
	status, n int
}

func (w *discardWriter) Header() http.Header  { return w.header }
func (w *discardWriter) WriteHeader(code int) { w.status = code }
func (w *discardWriter) Write(p []byte) (int, error) {
	n, err := io.Discard.Write(p)
	w.n += n
	return n, err
}

func BenchmarkHeaders(b *testing.B) {
	in := http.Header{
		"Accept": {"application/json"}, "Accept-Encoding": {"gzip, br"}, "Accept-Language": {"en"}, "User-Agent": {"Mozilla/5.0"},
		"Cookie": {"theme=dark"}, "Referer": {"https://app.example/"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"},
	}
	req := &Request{Principal: ada, CorrelationID: "c", ClientIP: netip.MustParseAddr("192.0.2.7"), Scheme: "https", Host: "app.example"}
	b.ReportAllocs()
	for b.Loop() {
		inject(forwardable(in), req, "Bearer t")
	}
}

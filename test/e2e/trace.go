package e2e

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// Trace remembers every exchange of a Browser, so that a test can look through
// all of it for what must not be there. It is the browser's http.RoundTripper,
// and safe for concurrent use.
type Trace struct {
	mu        sync.Mutex
	exchanges []*Exchange
}

// Exchange is a request and its response.
type Exchange struct {
	Method  string
	URL     *url.URL
	Cookies []*http.Cookie // sent
	Status  int
	Header  http.Header // of the response

	mu   sync.Mutex
	body bytes.Buffer
}

// Body is what has been read of the response's body so far.
func (e *Exchange) Body() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.body.String()
}

// RoundTrip implements http.RoundTripper.
func (t *Trace) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	e := &Exchange{Method: r.Method, URL: r.URL, Cookies: r.Cookies(), Status: resp.StatusCode, Header: resp.Header.Clone()}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body = &recordedBody{resp.Body, e}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exchanges = append(t.exchanges, e)
	return resp, nil
}

// Exchanges lists what there was with one host (host:port), oldest first; with
// all of them if host is empty.
func (t *Trace) Exchanges(host string) []*Exchange {
	t.mu.Lock()
	defer t.mu.Unlock()
	var some []*Exchange
	for _, e := range t.exchanges {
		if host == "" || e.URL.Host == host {
			some = append(some, e)
		}
	}
	return some
}

// maxRecorded bounds what is kept of one body.
const maxRecorded = 1 << 20

type recordedBody struct {
	io.ReadCloser
	exchange *Exchange
}

func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.exchange.mu.Lock()
	defer b.exchange.mu.Unlock()
	b.exchange.body.Write(p[:min(n, max(0, maxRecorded-b.exchange.body.Len()))])
	return n, err
}

package upstream

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keyway/internal/problem"
)

func TestBadServicesAreAllNamed(t *testing.T) {
	bad := map[string]Service{
		"scheme":       {BaseURL: "ftp://a"},
		"none":         {BaseURL: ""},
		"host":         {BaseURL: "http:///x"},
		"port only":    {BaseURL: "http://:80"},
		"user":         {BaseURL: "http://u:hunter2@a"},
		"broken user":  {BaseURL: "http://u:hunter2@a\x7f"},
		"query":        {BaseURL: "http://a/?x=1"},
		"fragment":     {BaseURL: "http://a/#x"},
		"path":         {BaseURL: "http://a//x"},
		"timeout":      {BaseURL: "http://a", Timeout: -1},
		"certificates": {BaseURL: "https://a", TLS: TLS{CA: []byte("junk")}},
	}
	var all []Service
	for name, s := range bad {
		s.Name = name
		all = append(all, s)
	}
	all = append(all, Service{Name: "twin", BaseURL: "http://a"}, Service{Name: "twin", BaseURL: "http://b"})
	_, err := New(Options{Services: all})
	if err == nil {
		t.Fatal("accepted")
	}
	for name := range bad {
		if !strings.Contains(err.Error(), `service "`+name+`": `) {
			t.Errorf("%q is not named in\n%v", name, err)
		}
	}
	if !strings.Contains(err.Error(), `service "twin": `) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got\n%v", err)
	}
}

func TestURL(t *testing.T) {
	p, err := New(Options{Services: []Service{{Name: "api", BaseURL: "http://api:8080/v1/"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.URL("api", "/a%2Fb", "q=1"); got != "http://api:8080/v1/a%2Fb?q=1" {
		t.Errorf("got %q", got)
	}
	if got := p.URL("other", "/", ""); got != "" {
		t.Errorf("got %q", got)
	}
	if err := p.Forward(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), Request{Service: "other", Path: "/"}); problem.CodeOf(err) != problem.Internal {
		t.Errorf("got %v", err)
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, r.Proto+" "+r.RequestURI+" "+r.Header.Get("X-User-Id")+" "+r.Header.Get("Authorization"))
		_ = http.NewResponseController(w).Flush() // else HTTP/2 says the length, and HTTP/1 has no trailers then
		w.Header().Set("X-Sum", "1")
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = silent
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, c := range map[string]struct {
		tls  TLS
		want string
	}{
		"HTTP/2":         {TLS{CA: ca}, "HTTP/2.0 /a%2Fb?x=1;y ada "},
		"HTTP/1.1":       {TLS{CA: ca, HTTP1Only: true}, "HTTP/1.1 /a%2Fb?x=1;y ada "},
		"name":           {TLS{CA: ca, ServerName: "example.com"}, "HTTP/2.0 /a%2Fb?x=1;y ada "},
		"unknown issuer": {TLS{}, ""},
		"other name":     {TLS{CA: ca, ServerName: "evil.example"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, Service{BaseURL: s.URL, TLS: c.tls, Timeout: patience}, func(_ *http.Request, req *Request) { req.Principal = ada })
			res, body := f.send(t, "GET /a%2Fb?x=1;y HTTP/1.1\r\nHost: a\r\nX-User-ID: eve\r\nTE: trailers\r\n\r\n")
			if c.want == "" {
				wantProblem(t, res, body, problem.UpstreamFailed)
				return
			}
			if res.StatusCode != 200 || body != c.want || res.Trailer.Get("X-Sum") != "1" {
				t.Errorf("answered %s %q, trailer %q", res.Status, body, res.Trailer)
			}
		})
	}
}

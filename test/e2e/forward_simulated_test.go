package e2e

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"keyway/internal/testkit/parts"
)

// Traefik and Envoy are not among the parts that the tests install. What they send
// to keyway, and do with its answers, is done here by what their documentation and
// source say, with the names that their files of deploy/ have; the routers and
// filters around it are only checked as YAML.

// asks sends the question for a request, and gives the answer.
type asks func(r *http.Request) (*http.Response, error)

// simulated is a proxy: what is below /auth/ goes to keyway, the rest is asked about.
func simulated(gate, app string, strangers func(http.Header), ask asks, copyTo func(request, answer http.Header)) http.Handler {
	to := func(host string) *httputil.ReverseProxy {
		return &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: host})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		}}
	}
	keyway, application := to(gate), to(app)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Both take what Connection names away at their door, Traefik since 2.11.9 and 3.1.3.
		for _, list := range r.Header["Connection"] {
			for name := range strings.SplitSeq(list, ",") {
				r.Header.Del(strings.TrimSpace(name))
			}
		}
		r.Header.Del("Connection")
		strangers(r.Header)
		switch path := r.URL.Path; {
		case path == "/auth/verify", strings.HasPrefix(path, "/auth/forward"):
			w.WriteHeader(http.StatusNotFound)
			return
		case strings.HasPrefix(path, "/auth/"):
			keyway.ServeHTTP(w, r)
			return
		}
		answer, err := ask(r)
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			for _, name := range []string{"Location", "Www-Authenticate", "Content-Type", "Cache-Control"} {
				w.Header()[name] = answer.Header[name]
			}
			w.WriteHeader(answer.StatusCode)
			return
		}
		copyTo(r.Header, answer.Header)
		application.ServeHTTP(w, r)
	})
}

var hopByHop = []string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade", "Proxy-Authorization", "Proxy-Authenticate"}

// likeTraefik asks as pkg/middlewares/auth/forward.go of Traefik does, with
// trustForwardHeader off.
func likeTraefik(t *testing.T, gate, app string) http.Handler {
	var file struct {
		HTTP struct {
			Routers     map[string]struct{ Middlewares []string }
			Middlewares struct {
				Strangers struct {
					Headers struct {
						CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
					}
				}
				Keyway struct {
					ForwardAuth struct {
						Address                  string
						TrustForwardHeader       bool   `yaml:"trustForwardHeader"`
						AuthResponseHeadersRegex string `yaml:"authResponseHeadersRegex"`
					} `yaml:"forwardAuth"`
				}
			}
		}
	}
	must(t, yaml.Unmarshal([]byte(deployed(t, "traefik/dynamic.yaml")), &file))
	middlewares, auth := file.HTTP.Middlewares, file.HTTP.Middlewares.Keyway.ForwardAuth
	if !slices.Equal(file.HTTP.Routers["app"].Middlewares, []string{"strangers", "keyway"}) || auth.TrustForwardHeader || auth.Address != "http://127.0.0.1:8000/auth/forward" {
		t.Fatalf("expected what clients say to go first, then the question: %+v", file)
	}
	ours := regexp.MustCompile(auth.AuthResponseHeadersRegex)
	strangers := func(h http.Header) {
		for name, value := range middlewares.Strangers.Headers.CustomRequestHeaders {
			if value == "" {
				h.Del(name)
			}
		}
	}
	ask := func(r *http.Request) (*http.Response, error) {
		q, err := http.NewRequestWithContext(r.Context(), "GET", strings.Replace(auth.Address, "127.0.0.1:8000", gate, 1), nil)
		if err != nil {
			return nil, err
		}
		q.Header = r.Header.Clone()
		for _, name := range hopByHop {
			q.Header.Del(name)
		}
		q.Header.Set("X-Forwarded-For", "127.0.0.1")
		q.Header.Set("X-Forwarded-Method", r.Method)
		q.Header.Set("X-Forwarded-Proto", "http")
		q.Header.Set("X-Forwarded-Host", r.Host)
		q.Header.Set("X-Forwarded-Uri", r.URL.RequestURI())
		return http.DefaultTransport.RoundTrip(q)
	}
	return simulated(gate, app, strangers, ask, func(request, answer http.Header) {
		for name := range request {
			if ours.MatchString(name) {
				delete(request, name)
			}
		}
		for name, values := range answer {
			if ours.MatchString(name) {
				request[name] = values
			}
		}
	})
}

// likeEnvoy asks as ext_authz does: method, host, path and query of the request, the
// headers on the list, no body.
func likeEnvoy(t *testing.T, gate, app string) http.Handler {
	text := deployed(t, "envoy/envoy.yaml")
	var whole any
	must(t, yaml.Unmarshal([]byte(text), &whole))
	names := func(key string) (allow func(string) bool) {
		_, rest, ok := strings.Cut(text, key+":")
		if !ok {
			t.Fatalf("expected %s", key)
		}
		var found [][]string
		for line := range strings.Lines(rest) {
			m := regexp.MustCompile(`- \{(exact|prefix): ([a-z-]+), ignore_case: true\}`).FindStringSubmatch(line)
			if m != nil {
				found = append(found, m[1:])
			} else if len(found) > 0 {
				break
			}
		}
		return func(name string) bool {
			name = strings.ToLower(name)
			return slices.ContainsFunc(found, func(m []string) bool { return name == m[1] || m[0] == "prefix" && strings.HasPrefix(name, m[1]) })
		}
	}
	asked, copied := names("allowed_headers"), names("allowed_upstream_headers")
	for _, want := range []string{"failure_mode_allow: false", "path_prefix: /auth/forward", "headers_with_underscores_action: DROP_HEADER"} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %s", want)
		}
	}
	family := regexp.MustCompile(`^x[^a-z0-9]+(user|session|auth|original|rewrite)[^a-z0-9]`)
	strangers := func(h http.Header) {
		for name := range h {
			lower := strings.ToLower(name)
			if strings.Contains(name, "_") || family.MatchString(lower) || slices.Contains([]string{"x-forwarded-host", "x-forwarded-uri", "x-forwarded-method", "forwarded"}, lower) {
				delete(h, name)
			}
		}
	}
	ask := func(r *http.Request) (*http.Response, error) {
		q, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+gate+"/auth/forward"+r.URL.RequestURI(), nil)
		if err != nil {
			return nil, err
		}
		q.Host = r.Host
		for name, values := range r.Header {
			if asked(name) {
				q.Header[name] = values
			}
		}
		q.Header.Set("X-Forwarded-For", "127.0.0.1")
		q.Header.Set("X-Forwarded-Proto", "http")
		return http.DefaultTransport.RoundTrip(q)
	}
	return simulated(gate, app, strangers, ask, func(request, answer http.Header) {
		for name, values := range answer {
			if copied(name) {
				request[name] = values
			}
		}
	})
}

// Each file of deploy/ for a proxy is one that a test takes.
func TestEveryProxyOfDeployIsTested(t *testing.T) {
	for _, name := range []string{"nginx", "caddy", "haproxy", "traefik", "envoy"} {
		files, err := filepath.Glob(filepath.Join(parts.Root(t), "deploy", name, "*"))
		must(t, err)
		if len(files) == 0 || doormen[name].start == nil && doormen[name].simulate == nil {
			t.Errorf("%s: files %v, tested %v", name, files, doormen[name])
		}
		for _, f := range files {
			if text, err := os.ReadFile(f); err != nil || len(text) == 0 {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
}

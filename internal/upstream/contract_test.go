package upstream

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// forged is every way to say "I am eve" that we know of.
const forged = "X-User-ID: eve\r\nx-user-id: eve\r\nX_User_ID: eve\r\nx.user.id: eve\r\nX-USER_ID: eve\r\nX--User-Id: eve\r\n" +
	"X-User-Email: eve\r\nX-User-Name: eve\r\nX-Session-ID: eve\r\nX-Auth-Time: eve\r\nX-Original-User: eve\r\nX_Original_User: eve\r\n" +
	"X-Correlation-ID: eve\r\nx_correlation_id: eve\r\nAuthorization: Bearer eve\r\nAuthorization: Basic eve\r\nX-Original-URL: /eve\r\n" +
	"X-Forwarded-For: eve\r\nX-Forwarded-Host: eve\r\nX-Forwarded-Proto: eve\r\nx_forwarded_for: eve\r\nX-Forwarded-Prefix: /eve\r\n" +
	"Forwarded: for=eve\r\nX-Real-IP: eve\r\nX-CSRF-Token: eve\r\nX-HTTP-Method-Override: EVE\r\nHTTP2-Settings: eve\r\nProxy-Authorization: eve\r\n" +
	"Transfer_Encoding: eve\r\n"

func TestForgedIdentityNeverArrives(t *testing.T) {
	modes := map[string]struct {
		who    *principal.Principal
		policy *TokenPolicy
	}{
		"public":           {nil, nil},
		"session":          {ada, NewTokenPolicy(Passthrough, "", nil)},
		"no claims at all": {&principal.Principal{Provider: "demo", Subject: "ada"}, NewTokenPolicy(NoToken, "", nil)},
	}
	for name, mode := range modes {
		for _, method := range []string{"GET", "OPTIONS", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				threat.Covers(t, 34, 37)
				base, requests := recorder(t)
				f := newFront(t, Service{BaseURL: base}, func(_ *http.Request, req *Request) {
					req.Principal, req.Token, req.AccessToken = mode.who, mode.policy, secret.NewValue([]byte("token-of-ada"))
				})
				raw := method + " /x HTTP/1.1\r\nHost: evil.example\r\n" + forged
				if method == "POST" {
					raw += "Transfer-Encoding: chunked\r\nTrailer: X-User-Id, X_User_Name\r\n\r\n2\r\nhi\r\n0\r\nX-User-Id: eve\r\nX_User_Name: eve\r\nX-Forwarded-For: eve\r\n"
				}
				if res, body := f.send(t, raw+"\r\n"); res.StatusCode != 200 || body != "ok" {
					t.Fatalf("answered %s %q", res.Status, body)
				}
				got := receive(t, requests, "the request")
				all := strings.Join(append(append([]string{got.line}, got.fields...), got.trailer...), "\n")
				if strings.Contains(strings.ToLower(all), "eve") || strings.Contains(all, "evil.example") {
					t.Errorf("the upstream saw\n%s", all)
				}
				if len(got.trailer) > 0 || len(got.field("Trailer")) > 0 {
					t.Errorf("trailers %q arrived", got.trailer)
				}
				want := map[string]string{
					"X-Correlation-ID": "c-1", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Host": "app.example", "X-Forwarded-Proto": "https",
				}
				if mode.who != nil {
					want["X-User-ID"], want["X-Original-User"] = "ada", "auth:account:demo:ada"
				}
				if mode.who == ada {
					want["X-User-Email"], want["X-User-Name"], want["X-Session-ID"] = "ada@example.org", "Ada Lovelace", "s-1"
					want["X-Auth-Time"], want["Authorization"] = "1700000000", "Bearer token-of-ada"
				}
				for _, name := range []string{
					"X-Correlation-ID", "X-User-ID", "X-User-Email", "X-User-Name", "X-Session-ID", "X-Auth-Time", "X-Original-User",
					"Authorization", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-IP",
				} {
					values := got.field(name)
					if v, ok := want[name]; ok && !slices.Equal(values, []string{v}) || !ok && len(values) > 0 {
						t.Errorf("%s: %q, want %q", name, values, v)
					}
				}
			})
		}
	}
}

func TestConnectionCantRemoveWhatIsInjected(t *testing.T) {
	threat.Covers(t, 35)
	base, requests := recorder(t)
	f := newFront(t, Service{BaseURL: base}, func(_ *http.Request, req *Request) {
		req.Principal, req.Token, req.AccessToken = ada, NewTokenPolicy(Passthrough, "", nil), secret.NewValue([]byte("t"))
	})
	f.send(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-user-id, authorization,X-Correlation-ID\r\nConnection: X-Forwarded-For, x-original-user, x-hop\r\nX-Hop: 1\r\nX-User-ID: eve\r\n\r\n")
	got := receive(t, requests, "the request")
	for name, want := range map[string]string{
		"X-User-ID": "ada", "Authorization": "Bearer t", "X-Correlation-ID": "c-1", "X-Forwarded-For": "192.0.2.7", "X-Original-User": "auth:account:demo:ada",
	} {
		if values := got.field(name); !slices.Equal(values, []string{want}) {
			t.Errorf("%s: %q, want %q", name, values, want)
		}
	}
	if len(got.field("X-Hop")) > 0 || len(got.field("Connection")) > 0 {
		t.Errorf("hop-by-hop headers arrived: %q", got.fields)
	}
}

func TestWhatIsForTheNextHopStaysHere(t *testing.T) {
	threat.Covers(t, 35)
	client := http.Header{
		"Accept": {"a", "b"}, "Te": {"deflate, Trailers;q=0.5", "trailers"}, "Connection": {"te, close", " x-hop ,,X-Other"},
		"X-Hop": {"1"}, "X-Other": {"1"}, "Keep-Alive": {"1"}, "Proxy-Connection": {"1"}, "Proxy-Authenticate": {"1"}, "Trailer": {"1"},
		"Transfer-Encoding": {"1"}, "Upgrade": {"h2c"}, "Cookie": {"bff_session=x", "a=b; bff_csrf=x"},
	}
	before := client.Clone()
	if got, want := forwardable(client), (http.Header{"Accept": {"a", "b"}, "Te": {"trailers"}, "Cookie": {"a=b"}}); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("forwarded %q, want %q", got, want)
	}
	if !maps.EqualFunc(client, before, slices.Equal) {
		t.Errorf("the client's own header became %q", client)
	}
	if got := forwardable(http.Header{"Te": {"deflate"}, "Cookie": {"bff_session=x"}}); len(got) != 0 {
		t.Errorf("forwarded %q", got)
	}
}

func TestSessionCookieStaysHere(t *testing.T) {
	threat.Covers(t, 42)
	base, requests := recorder(t)
	f := newFront(t, Service{BaseURL: base}, nil)
	f.send(t, "GET / HTTP/1.1\r\nHost: a\r\nCookie: theme=\"a b\";  __Host-bff_session=SECRET; x=%00\r\nCookie: bff_login_1=SECRET\r\nCookie: y=1\r\n\r\n")
	got := receive(t, requests, "the request")
	if cookies := got.field("Cookie"); !slices.Equal(cookies, []string{`theme="a b"; x=%00`, "y=1"}) {
		t.Errorf("cookies %q", cookies)
	}
	if strings.Contains(fmt.Sprint(got), "SECRET") {
		t.Errorf("the session cookie arrived: %q", got.fields)
	}
}

func TestUpstreamCantTouchOurs(t *testing.T) {
	threat.Covers(t, 42)
	base := listen(t, func(c net.Conn) {
		if _, err := readSeen(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nSet-Cookie: bff_session=evil\r\nLink: </x>\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nSet-Cookie: __Host-bff_session=evil; Path=/; Secure\r\nset-cookie: =bff_session=evil\r\nSET-COOKIE: bff_csrf=evil\r\n"+
			"Set-Cookie: theme=dark; Path=/\r\nX-Correlation-ID: evil\r\nAlt-Svc: h3=\"evil:443\"\r\nClear-Site-Data: \"cookies\"\r\n"+
			"Server: them\r\nStrict-Transport-Security: max-age=1\r\nCache-Control: public\r\nVary: Accept\r\nKeep-Alive: evil\r\n"+
			"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Correlation-ID: evil\r\nSet-Cookie: bff_session=evil\r\n\r\n")
	})
	f := newFront(t, Service{BaseURL: base}, nil)
	c := f.dial(t)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	raw, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "evil") {
		t.Errorf("the client saw\n%s", raw)
	}
	if strings.Count(string(raw), "HTTP/1.1 ") != 1 {
		t.Errorf("informational responses passed:\n%s", raw)
	}
	for _, want := range []string{
		"\r\nSet-Cookie: theme=dark; Path=/\r\n", "\r\nX-Correlation-Id: c-1\r\n", "\r\nServer: them\r\n", "\r\nStrict-Transport-Security: max-age=1\r\n", "\r\nX-Sum: 1\r\n",
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%q is missing in\n%s", want, raw)
		}
	}
	if strings.Contains(string(raw), "Content-Type") {
		t.Errorf("a content type was made up:\n%s", raw)
	}
}

// A trailer is read by whoever merges it into the header, after all that was decided by
// that (RFC 9110 section 6.5.1).
func TestTrailersSayNothingThatOnlyAHeaderMay(t *testing.T) {
	const trailer = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nKeep-Alive: 1\r\nTrailer: 1\r\nHost: evil\r\n" +
		"Content-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Range: bytes 0-1/2\r\nSet-Cookie: theme=dark\r\nCache-Control: public\r\n" +
		"Location: /evil\r\nWww-Authenticate: Basic\r\nAuthorization: x\r\nIf-Match: x\r\nX-Correlation-ID: x\r\nEtag: \"1\"\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n"
	for name, announced := range map[string]string{
		"announced": "Trailer: Set-Cookie, X-Sum, Content-Type, Grpc-Status, Etag, Cache-Control\r\n", "not announced": "", "one announced": "Trailer: X-Sum\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 24, 41, 42)
			base := listen(t, func(c net.Conn) {
				if _, err := readSeen(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"+announced+"\r\n2\r\nok\r\n0\r\n"+trailer+"\r\n")
				}
			})
			f := newFront(t, Service{BaseURL: base}, nil)
			c := f.dial(t)
			_, _ = io.WriteString(c, get)
			got, err := readSeen(bufio.NewReader(c))
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got.trailer)
			if want := []string{"Etag: \"1\"", "Grpc-Status: 0", "X-Sum: 1"}; !slices.Equal(got.trailer, want) || got.body != "ok" {
				t.Errorf("body %q, trailers %q, want %q", got.body, got.trailer, want)
			}
			if said := strings.Join(got.field("Trailer"), ", "); strings.Contains(said, "Set-Cookie") || strings.Contains(said, "Content-Type") {
				t.Errorf("announced %q", said)
			}
		})
	}
}

func TestWhatTheGatewaySetWins(t *testing.T) {
	threat.Covers(t, 24)
	p := map[string]string{"Cache-Control": "public, max-age=9", "Vary": "Accept"}
	h, already := http.Header{}, http.Header{"Cache-Control": {"no-store"}, "Vary": {"Origin"}}
	for k, v := range p {
		h.Set(k, v)
	}
	cleanResponse(h, already)
	if h.Get("Cache-Control") != "" || h.Get("Vary") != "Accept" {
		t.Errorf("got %q", h)
	}
}

func TestResponseHeadersThatAreNotTheUpstreams(t *testing.T) {
	always := []string{
		"X-Accel-Redirect", "X-Accel-Expires", "X_accel_redirect", "X-Sendfile", "X-Sendfile2", "X-Lighttpd-Send-File", "X-Reproxy-Url",
		"Set-Cookie2", "Set_cookie2", "X-User-Id", "x_user_email", "X-Session-Id", "X-Original-User", "X-Auth-Time", "X-Auth-Request-Access-Token",
		"Alt-Svc", "Clear-Site-Data", "Access-Control-Allow-Origin", "Access-Control-" + strings.Repeat("A", 100),
	}
	forCaches := []string{
		"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Netlify_cdn_cache_control", strings.Repeat("A", 100) + "-Cache-Control",
		"Surrogate-Control", "Surrogate-Key", "Edge-Control", "Expires", "Pragma", "Age",
	}
	harmless := []string{"Content-Type", "Etag", "Last-Modified", "Location", "Link", "X-Username", "X-Agent", "Server", "Www-Authenticate", "Vary", "Warning"}
	for name, c := range map[string]struct {
		already http.Header
		cookie  string
		noStore bool
	}{
		"cacheable":             {http.Header{}, "", false},
		"gateway says private":  {http.Header{"Cache-Control": {"private"}}, "", false},
		"gateway says no-store": {http.Header{"Cache-Control": {"No-Store"}}, "", true},
		"among others":          {http.Header{"Cache-Control": {"private, no-store"}}, "", true},
		"sets a cookie":         {http.Header{}, "theme=dark", true},
		"sets one of ours":      {http.Header{}, "bff_session=evil", false},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 24)
			h := http.Header{"Cache-Control": {"public"}}
			for _, name := range slices.Concat(always, forCaches, harmless) {
				h[name] = []string{"x"}
			}
			if c.cookie != "" {
				h["Set-Cookie"] = []string{c.cookie}
			}
			cleanResponse(h, c.already)
			for _, name := range always {
				if h[name] != nil {
					t.Errorf("%s passes", name)
				}
			}
			for _, name := range forCaches {
				if passes := h[name] != nil; passes == c.noStore {
					t.Errorf("%s: passes %v", name, passes)
				}
			}
			for _, name := range harmless {
				if h[name] == nil {
					t.Errorf("%s does not pass", name)
				}
			}
			if said := cmp.Or(c.already.Get("Cache-Control"), h.Get("Cache-Control")); hasToken([]string{said}, "no-store") != c.noStore {
				t.Errorf("Cache-Control: %s", said)
			}
		})
	}
}

func TestCORSIsTheGatewaysToDecide(t *testing.T) {
	threat.Covers(t, 31)
	h := http.Header{
		"Access-Control-Allow-Origin": {"https://evil.example"}, "Access-Control-Allow-Credentials": {"true"},
		"Access-Control-Expose-Headers": {"*"}, "Content-Type": {"text/plain"},
	}
	cleanResponse(h, http.Header{"Access-Control-Allow-Origin": {"https://app.example"}})
	if len(h) != 1 {
		t.Errorf("passed: %q", h)
	}
}

func TestTargetGoesOutByteForByte(t *testing.T) {
	for _, base := range []string{"", "/", "/v1", "/v1%2Fx/"} {
		for _, target := range []string{
			"/", "/a", "/a%2Fb", "/a%2fb", "/%7Eme", "/~me", "/a;b=c", "/a,b(c)!'*", "/%E4%BD%A0", "/a%25b", "/a:b@c", "/a+b%20c", "/a/", "/x?", "/x?a=b", "/x?a=b;c=%zz&&=",
			"/x?a%3Db=%26&d=e%20f+g", "/x?" + strings.Repeat("p&", 10_001) + "last=1", "/x?q=\"<>|^`{}",
		} {
			t.Run(base+target[:min(20, len(target))], func(t *testing.T) {
				threat.Covers(t, 38, 39)
				origin, requests := recorder(t)
				f := newFront(t, Service{BaseURL: origin + base}, func(r *http.Request, req *Request) {
					req.Path, req.RawQuery, _ = strings.Cut(r.RequestURI, "?")
				})
				f.send(t, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n")
				if got, want := receive(t, requests, "the request").line, "GET "+strings.TrimSuffix(base, "/")+target+" HTTP/1.1"; got != want {
					t.Errorf("went out as %.80q, want %.80q", got, want)
				}
			})
		}
	}
}

func TestUndecidableTargetsAreRefused(t *testing.T) {
	threat.Covers(t, 38)
	base, requests := recorder(t)
	for _, c := range []struct {
		path, query string
		code        problem.Code
	}{
		{"//evil/x", "", problem.AmbiguousPath}, {"x", "", problem.AmbiguousPath}, {"", "", problem.AmbiguousPath},
		{"/a?b", "", problem.AmbiguousPath}, {"/a#b", "", problem.AmbiguousPath}, {"/a\\b", "", problem.AmbiguousPath},
		{"/a b", "", problem.AmbiguousPath}, {"/a\r\nX: y", "", problem.AmbiguousPath}, {"/\u00e4", "", problem.AmbiguousPath},
		{"/a", "b c", problem.AmbiguousQuery}, {"/a", "b\r\nX: y", problem.AmbiguousQuery}, {"/a", "b#c", problem.AmbiguousQuery},
	} {
		f := newFront(t, Service{BaseURL: base}, func(_ *http.Request, req *Request) { req.Path, req.RawQuery = c.path, c.query })
		res, body := f.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		wantProblem(t, res, body, c.code)
	}
	if len(requests) > 0 {
		t.Errorf("the upstream saw %q", (<-requests).line)
	}
}

func TestOnlyConfiguredUpstreams(t *testing.T) {
	threat.Covers(t, 41)
	base, requests := recorder(t)
	evil, stolen := recorder(t)
	t.Setenv("HTTP_PROXY", evil)
	t.Setenv("http_proxy", evil)
	f := newFront(t, Service{BaseURL: base}, nil)
	for _, raw := range []string{
		"GET " + evil + "/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http:/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT " + strings.TrimPrefix(evil, "http://") + " HTTP/1.1\r\nHost: a\r\n\r\n",
		"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		c := f.dial(t)
		_, _ = io.WriteString(c, raw+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
		all, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("%q: the connection was not closed: %v", raw, err)
		}
		if !strings.HasPrefix(string(all), "HTTP/1.1 400 ") || strings.Count(string(all), "HTTP/1.1 ") != 1 {
			t.Errorf("%q answered\n%s", raw, all)
		}
	}
	f.send(t, "GET /x HTTP/1.1\r\nHost: "+strings.TrimPrefix(evil, "http://")+"\r\n\r\n")
	if got := receive(t, requests, "the request").field("Host"); !slices.Equal(got, []string{strings.TrimPrefix(base, "http://")}) {
		t.Errorf("Host: %q", got)
	}
	if len(stolen) > 0 || len(requests) > 0 {
		t.Errorf("%d requests went elsewhere, %d were smuggled", len(stolen), len(requests))
	}
}

func TestRedirectsAreForTheClient(t *testing.T) {
	threat.Covers(t, 41)
	evil, stolen := recorder(t)
	base := listen(t, func(c net.Conn) {
		_, _ = readSeen(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: "+evil+"/x\r\nContent-Length: 0\r\n\r\n")
	})
	f := newFront(t, Service{BaseURL: base}, nil)
	if res, _ := f.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); res.StatusCode != 302 || res.Header.Get("Location") != evil+"/x" || len(stolen) > 0 {
		t.Errorf("answered %s, %d requests followed it", res.Status, len(stolen))
	}
}

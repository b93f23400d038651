package gateway

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"keyway/internal/threat"
)

var proxies = TrustedProxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func request(peer string, headers ...string) *http.Request {
	r := &http.Request{RemoteAddr: peer, Host: "app.example", Header: http.Header{}, Method: "GET"}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// Whatever a stranger says about where he comes from has no effect.
func TestForwardingHeadersFromStrangersDecideNothing(t *testing.T) {
	threat.Covers(t, 37, 32)
	plain := proxies.Client(request("203.0.113.9:1234"))
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-Ip", "X-Original-Host", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Port", "X-Forwarded-Prefix", "True-Client-Ip"} {
		for _, value := range []string{"10.0.0.1", "https", "evil.example", "for=10.0.0.1;proto=https;host=evil.example", "/admin"} {
			if got := proxies.Client(request("203.0.113.9:1234", name, value)); got != plain {
				t.Errorf("%s: %s changed the client to %+v", name, value, got)
			}
		}
	}
	if want := (Client{Addr: netip.MustParseAddr("203.0.113.9"), Scheme: "http", Host: "app.example", PublicHost: "app.example"}); plain != want {
		t.Errorf("client is %+v, want %+v", plain, want)
	}
}

func TestForwardingHeadersFromOurProxies(t *testing.T) {
	threat.Covers(t, 37)
	for name, c := range map[string]struct {
		r    *http.Request
		want string // addr scheme host
	}{
		"all three": {request("10.0.0.1:1", "X-Forwarded-For", "198.51.100.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "shop.example"),
			"198.51.100.7 https shop.example"},
		"the client lied to the proxy": {request("10.0.0.1:1", "X-Forwarded-For", "1.2.3.4, 198.51.100.7"), "198.51.100.7 http app.example"},
		"two of our proxies":           {request("10.0.0.1:1", "X-Forwarded-For", "1.2.3.4, 198.51.100.7, 10.9.9.9"), "198.51.100.7 http app.example"},
		"two headers":                  {request("10.0.0.1:1", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-For", "198.51.100.7"), "198.51.100.7 http app.example"},
		"junk before us":               {request("10.0.0.1:1", "X-Forwarded-For", "1.2.3.4, junk"), "10.0.0.1 http app.example"},
		"with port":                    {request("10.0.0.1:1", "X-Forwarded-For", "[2001:db8::7]:443"), "2001:db8::7 http app.example"},
		"mapped":                       {request("[::ffff:10.0.0.1]:1", "X-Forwarded-For", "::ffff:198.51.100.7"), "198.51.100.7 http app.example"},
		"odd scheme":                   {request("10.0.0.1:1", "X-Forwarded-Proto", "javascript"), "10.0.0.1 http app.example"},
		"odd host":                     {request("10.0.0.1:1", "X-Forwarded-Host", "evil.example/@app.example"), "10.0.0.1 http app.example"},
		"host with a port":             {request("10.0.0.1:1", "X-Forwarded-Host", "shop.example:8443"), "10.0.0.1 http shop.example:8443"},
		"last of two hosts":            {request("10.0.0.1:1", "X-Forwarded-Host", "evil.example, shop.example"), "10.0.0.1 http shop.example"},
		"v6 proxy":                     {request("[fd00::1]:1", "X-Forwarded-For", "2001:db8::9"), "2001:db8::9 http app.example"},
		"unreadable peer":              {request("@", "X-Forwarded-For", "198.51.100.7"), "invalid IP http app.example"},
	} {
		t.Run(name, func(t *testing.T) {
			got := proxies.Client(c.r)
			if s := got.Addr.String() + " " + got.Scheme + " " + got.Host; s != c.want {
				t.Errorf("client is %s, want %s", s, c.want)
			}
		})
	}
	r := request("203.0.113.9:1234")
	r.TLS = &tls.ConnectionState{}
	if got := proxies.Client(r).Origin(); got != "https://app.example" {
		t.Errorf("origin over TLS is %s", got)
	}
}

// Where TLS ends at something that does not tell, the configuration does.
func TestDefaultScheme(t *testing.T) {
	s := Settings{TrustedProxies: proxies, DefaultScheme: "https"}
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{
		"a stranger's word":      {request("203.0.113.9:1", "X-Forwarded-Proto", "http"), "https"},
		"our proxy says nothing": {request("10.0.0.1:1"), "https"},
		"our proxy says http":    {request("10.0.0.1:1", "X-Forwarded-Proto", "http"), "http"},
	} {
		if got := s.client(c.r).Scheme; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A Host that we are not known under is nobody's origin, and no upstream hears it.
func TestPublicHost(t *testing.T) {
	s := Settings{PublicHosts: []string{"app.example", "www.app.example"}}
	for host, want := range map[string]string{"app.example": "app.example", "www.app.example": "www.app.example", "evil.example": "app.example", "": "app.example"} {
		r := request("203.0.113.9:1", "Origin", "http://"+host)
		r.Host = host
		c := s.client(r)
		if c.PublicHost != want {
			t.Errorf("Host %q: %q, want %q", host, c.PublicHost, want)
		}
		if err := (Origins)(nil).sameSite(r, c); (err == nil) != (host == want) {
			t.Errorf("Host and Origin %q: %v", host, err)
		}
	}
}

func FuzzForwardingHeaders(f *testing.F) {
	f.Add("1.2.3.4, 5.6.7.8", "https", "a.example")
	f.Add("[::1]:1,,", "http,https", "[::1]:80")
	f.Add(strings.Repeat("1.1.1.1,", 1000), "\x00", "a b")
	f.Fuzz(func(t *testing.T, chain, proto, host string) {
		c := proxies.Client(request("10.0.0.1:1", "X-Forwarded-For", chain, "X-Forwarded-Proto", proto, "X-Forwarded-Host", host))
		if !c.Addr.IsValid() || (c.Scheme != "http" && c.Scheme != "https") || strings.ContainsAny(c.Host, "/\\@?#% \r\n\t\x00,;\"'<>") {
			t.Errorf("client is %+v", c)
		}
	})
}

package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Client is what is known of whoever sent a request, and how they addressed us.
type Client struct {
	Addr   netip.Addr // the user's address, v4-mapped v6 unmapped
	Scheme string     // "http" or "https", as the browser sees it
	Host   string     // host[:port], as the request says
	// PublicHost is Host if it is one that we are known under, else the one that
	// the configuration names: anybody can write a Host header.
	PublicHost string
	Trusted    bool // the direct peer is one of our own proxies
	// schemeTold: the scheme is known, from TLS or a trusted proxy, not assumed.
	schemeTold bool
}

// Origin is the origin (RFC 6454) that the browser sees us under.
func (c Client) Origin() string { return c.Scheme + "://" + c.PublicHost }

// TrustedProxies are the networks whose forwarding headers are believed. A
// request from anywhere else is taken at its connection's word alone: headers
// that anybody can send decide nothing.
type TrustedProxies []netip.Prefix

func (t TrustedProxies) contain(a netip.Addr) bool {
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Client works out who sent r. Of X-Forwarded-For it believes the last address
// that no trusted proxy has, because everything left of it could be invented;
// of X-Forwarded-Proto and -Host the last value, which the nearest proxy wrote.
// RFC 7239's Forwarded is not read: a deployment in which the two disagree
// would leave the choice to the attacker.
func (t TrustedProxies) Client(r *http.Request) Client {
	c := t.sender(r)
	c.PublicHost = c.Host
	return c
}

func (t TrustedProxies) sender(r *http.Request) Client {
	c := Client{Addr: peer(r), Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		c.Scheme, c.schemeTold = "https", true
	}
	if !t.contain(c.Addr) {
		return c
	}
	c.Trusted = true
	if proto := lastValue(r.Header["X-Forwarded-Proto"]); proto == "http" || proto == "https" {
		c.Scheme, c.schemeTold = proto, true
	}
	if host := lastValue(r.Header["X-Forwarded-Host"]); validHost(host) {
		c.Host = host
	}
	chain := values(r.Header["X-Forwarded-For"])
	for i := len(chain) - 1; i >= 0; i-- {
		addr, ok := forwardedAddr(chain[i])
		if !ok {
			break // what we can't read we can't believe, nor anything before it
		}
		c.Addr = addr
		if !t.contain(addr) {
			break
		}
	}
	return c
}

func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// forwardedAddr reads "192.0.2.1", "192.0.2.1:1234", "2001:db8::1" and
// "[2001:db8::1]:1234", which proxies all write.
func forwardedAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

// maxForwardedValues bounds the work that one header can cause.
const maxForwardedValues = 32

func values(headers []string) []string {
	var all []string
	for i := len(headers) - 1; i >= 0 && len(all) < maxForwardedValues; i-- {
		parts := strings.Split(headers[i], ",")
		for j := len(parts) - 1; j >= 0 && len(all) < maxForwardedValues; j-- {
			all = append(all, strings.TrimSpace(parts[j]))
		}
	}
	slices.Reverse(all)
	return all
}

func lastValue(headers []string) string {
	if all := values(headers); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// validHost accepts a registered name or address with an optional port
// (RFC 9110 section 4.2.3), and none of the characters with which a host could
// become something else in a URL or a header.
func validHost(host string) bool {
	if host == "" || len(host) > 253+6 {
		return false
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), ""
	}
	for _, r := range port {
		if r < '0' || r > '9' {
			return false
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	if name == "" {
		return false
	}
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_':
		default:
			return false
		}
	}
	return true
}

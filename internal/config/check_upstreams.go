package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"keyway/internal/route"
)

// checkOwnListeners refuses a service that is this very gateway: a request would
// go round until something gives, and on the admin listener find what is not
// for the public.
func (l *loader) checkOwnListeners(key string, base *url.URL) {
	if base == nil {
		return
	}
	s := &l.settings
	if servedBy(base, s.Server.Host, strconv.Itoa(s.Server.Port)) {
		l.wrong(RoutesFile, key+".base_url", fmt.Sprintf("the gateway's own public listener (port %d): requests would go in a circle", s.Server.Port), "the address of the service, or another PORT for the gateway")
	}
	if host, port, err := net.SplitHostPort(s.Admin.Addr); err == nil && servedBy(base, host, port) {
		l.wrong(RoutesFile, key+".base_url", "the gateway's own admin listener ("+s.Admin.Addr+"), which is not for the public", "the address of the service, or another BFF_ADMIN_ADDR for the gateway")
	}
}

// servedBy says whether a URL leads to a listener of this machine.
func servedBy(u *url.URL, host, port string) bool {
	if port == "0" || portOf(u) != port {
		return false
	}
	to := strings.ToLower(u.Hostname())
	if anyAddress(to) || isLoopback(to) {
		return anyAddress(host) || isLoopback(host)
	}
	return strings.EqualFold(to, host)
}

func portOf(u *url.URL) string {
	usual := "443"
	if u.Scheme == "http" {
		usual = "80"
	}
	return cmp.Or(u.Port(), usual)
}

// server is what tells two servers apart. Whether https and http on one port
// are two can't be known, so they count as one.
func server(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if host == "127.0.0.1" || host == "::1" {
		host = "localhost"
	}
	return net.JoinHostPort(host, portOf(u))
}

// reaching is a route and what it can ask its upstream for.
type reaching struct {
	key     string // as in routes[2]
	route   *route.Route
	server  string
	pattern route.Pattern
	exact   bool
}

// checkBackDoors notes a public route through which a caller could ask an
// upstream for what another route keeps for people who are signed in. Paths
// differ here and meet there: /pub/* to /{path} beside /admin/* to /admin/{path}.
// It is a note and no error, because an API may well answer both, each with what
// its caller may see, and only whoever runs it knows; a start says it again.
//
// The other way round is an exception that somebody wrote down: what is public is
// named more narrowly than what is kept. One path beside /api/* to /{path} is
// usual, for a page and its API on one server; a family of them is a note.
func (l *loader) checkBackDoors(keys []string, routes []route.Route) {
	var public, guarded []reaching
	for i := range routes {
		r, key := &routes[i], keys[i]
		base := l.routes.Services[r.Service].BaseURL
		if base == nil || l.broken(RoutesFile, key+".upstream_path") || l.broken(RoutesFile, key+".preserve_path") || l.broken(RoutesFile, key+".auth") {
			continue
		}
		pattern, exact, err := r.Reach(base)
		if err != nil {
			continue // said with its key
		}
		one := reaching{key, r, server(base), pattern, exact}
		if r.Auth == route.AuthNone {
			public = append(public, one)
		} else {
			guarded = append(guarded, one)
		}
	}
	for _, p := range public {
		l.checkBackDoor(p, guarded)
	}
}

// checkBackDoor says what it finds, and of what was hardly meant only the first.
// Letter case is ignored, because the server behind may.
func (l *loader) checkBackDoor(p reaching, guarded []reaching) {
	key := p.key + ".path"
	if p.route.UpstreamPath != "" {
		key = p.key + ".upstream_path"
	}
	for _, g := range guarded {
		if p.server != g.server {
			continue
		}
		method := sharedMethod(p.route, g.route)
		example, overlap := p.pattern.Overlap(g.pattern, true)
		if method == "" || !overlap {
			continue
		}
		exception := p.pattern.Within(g.pattern, true) && !g.pattern.Within(p.pattern, true)
		if exception && p.pattern.Fixed() {
			continue
		}
		found := fmt.Sprintf("%s %s at %s, which %s (%s) keeps for auth: %s, is open to anyone by %s (%s)",
			method, example, p.server, g.route, g.route.Source, g.route.Auth, p.route, p.route.Source)
		want := "upstream paths or methods that don't meet, or auth: " + string(g.route.Auth) + " here too"
		switch at := l.files[RoutesFile].at(key); {
		case !p.exact || !g.exact:
			l.note(at, key, "it may be that "+found, want)
		case exception:
			l.note(at, key, found, "nothing, if that is meant")
		default:
			l.note(at, key, found, want)
			return // it is the same mistake each time
		}
	}
}

// sharedMethod is a method that both routes answer, or "".
func sharedMethod(a, b *route.Route) string {
	of := b.EffectiveMethods()
	for _, m := range a.EffectiveMethods() {
		if slices.Contains(of, m) {
			return m
		}
	}
	return ""
}

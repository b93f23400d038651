package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"keyway/internal/problem"
	"keyway/internal/secret"
)

// admit decides whether a request is served at all, and says who asks, for the
// record. touch: it is something that somebody does.
func (h *Handler) admit(r *http.Request, touch bool) (by string, p *Problem) {
	if len(r.Header.Values("Authorization")) == 0 {
		if one, ok := h.session(r, touch); ok {
			// A cookie says nothing about the page that has it sent, and is for all ports
			// of a host.
			if h.crossOriginToUs(r) {
				return "", fail(http.StatusForbidden, problem.CrossOrigin, "the request comes from a page of another origin")
			}
			return one.by, nil
		}
	}
	if h.token == nil {
		by = "admin API, from this machine"
		if r.Header.Get("Sec-Fetch-Site") != "" {
			by = "console, from this machine"
		}
		return by, h.admitLocal(r)
	}
	want, p := h.wanted()
	if p != nil {
		return "", p
	}
	return "admin API, by token, from " + peer(r), admitToken(r, want)
}

// wanted is the token that is in force.
func (h *Handler) wanted() (secret.Value, *Problem) {
	want, ok := h.token()
	if !ok || want.IsZero() {
		return want, fail(http.StatusServiceUnavailable, codeUnavailable, "the token file of the admin API can't be read, so nobody can be let in").
			cured("See the gateway's log, and admin.token_file.")
	}
	return want, nil
}

// admitToken follows RFC 6750 section 2.1 only: a token in the query would be in
// logs and histories, one in a form could come from anybody's page.
func admitToken(r *http.Request, want secret.Value) *Problem {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return fail(http.StatusUnauthorized, problem.Unauthenticated, "expected a bearer token in Authorization, found none").
			cured("Pass --admin-token-file FILE, or set KEYWAY_ADMIN_TOKEN_FILE.")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return fail(http.StatusUnauthorized, problem.Unauthenticated, "expected one bearer token in Authorization, found something else").
			cured("Pass --admin-token-file FILE, or set KEYWAY_ADMIN_TOKEN_FILE.")
	}
	if !sameToken([]byte(token), want) {
		return fail(http.StatusUnauthorized, problem.InvalidToken, "the bearer token is not the one of this gateway").
			cured("Expected the content of the file that admin.token_file (BFF_ADMIN_TOKEN_FILE) of the gateway names.")
	}
	return nil
}

// sameToken hashes first: the comparison takes as long whatever the lengths are.
func sameToken(token []byte, want secret.Value) bool {
	a, b := sha256.Sum256(token), sha256.Sum256(want.Reveal())
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

const tokenCure = "Ask on the machine itself, or give the gateway a token: admin.token_file (BFF_ADMIN_TOKEN_FILE)."

// admitLocal serves programs on this machine. A browser is on this machine, too,
// and sends what any page tells it to, so each thing that it can't be made to
// fake is looked at.
func (h *Handler) admitLocal(r *http.Request) *Problem {
	switch {
	case !h.loopback:
		return fail(http.StatusForbidden, problem.Forbidden, "the admin listener is not on loopback, and there is no token to tell who may ask").
			cured("Give the gateway a token: admin.token_file (BFF_ADMIN_TOKEN_FILE).")
	case !loopbackPeer(r.RemoteAddr):
		return fail(http.StatusForbidden, problem.Forbidden, "without a token only this machine may ask").cured("%s", tokenCure)
	case !loopbackHost(r.Host):
		// DNS rebinding: the page's own name leads here, and so its origin is ours.
		return fail(http.StatusForbidden, problem.Forbidden, "expected a loopback name or address in Host, as in 127.0.0.1:8001").cured("%s", tokenCure)
	case forwarded(r.Header):
		return fail(http.StatusForbidden, problem.Forbidden, "a proxy on this machine passes on what somebody else asks").cured("%s", tokenCure)
	case crossOrigin(r):
		return fail(http.StatusForbidden, problem.CrossOrigin, "the request comes from a page of another origin").cured("Use 'keyway', or a program that is no browser.")
	}
	return nil
}

func loopbackPeer(remote string) bool {
	peer, err := netip.ParseAddrPort(remote)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// loopbackHost goes by the text alone; nothing is resolved. "localhost" is
// loopback for every browser (RFC 6761 section 6.3).
func loopbackHost(hostport string) bool {
	host := hostOf(hostport)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func forwarded(header http.Header) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if len(header.Values(name)) > 0 {
			return true
		}
	}
	return false
}

// crossOriginToUs is crossOrigin where browsers may reach us by another address than
// the one in Host, through a proxy that speaks TLS.
func (h *Handler) crossOriginToUs(r *http.Request) bool {
	if h.public == nil {
		return crossOrigin(r)
	}
	others := r.Clone(r.Context())
	others.Header.Del("Origin")
	for _, origin := range r.Header.Values("Origin") {
		if u, err := url.Parse(origin); err != nil || u.Scheme != h.public.Scheme || !strings.EqualFold(u.Host, h.public.Host) {
			others.Header.Add("Origin", origin)
		}
	}
	return crossOrigin(others)
}

// crossOrigin: another port of localhost is another origin, and the public
// listener's pages are not the operator's.
func crossOrigin(r *http.Request) bool {
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "none" && site != "same-origin" {
			return true
		}
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != scheme || !strings.EqualFold(u.Host, r.Host) {
			return true
		}
	}
	return false
}

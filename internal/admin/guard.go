package admin

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"keyway/internal/problem"
)

// Guard is next for whoever reached the listener by a name that is ours. It is for
// what the listener serves beside the API to whoever reaches it: a page that has its
// own name lead here (DNS rebinding) is of our origin to its browser, and would read
// it. On loopback the name in Host has to be loopback's, as for the API; elsewhere an
// address, or a name that nobody outside can have. Who shows the token may come by
// any name.
func (h *Handler) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.ours(r.Host) || h.shows(r) {
			next.ServeHTTP(w, r)
			return
		}
		harden(w.Header())
		h.log.Warn("admin: refused a request", "peer", peer(r), "code", string(problem.Forbidden), "why", "the name in Host is not this listener's")
		h.refuse(w, fail(http.StatusForbidden, problem.Forbidden, "expected an address, or a name that only this network has, in Host").
			cured("Ask by address, as in 127.0.0.1:8001, or with the token: admin.token_file (BFF_ADMIN_TOKEN_FILE)."))
	})
}

func (h *Handler) ours(hostport string) bool {
	return loopbackHost(hostport) || !h.loopback && insideHost(hostport)
}

// shows reports whether the request has the token.
func (h *Handler) shows(r *http.Request) bool {
	if h.token == nil {
		return false
	}
	want, ok := h.token()
	return ok && !want.IsZero() && admitToken(r, want) == nil
}

// insideHost goes by the text alone. A page of an address, or of a name that is not
// delegated in the public DNS, can only be from within: names without a dot, and
// those under .local (RFC 6762), .internal (reserved by ICANN) and .svc
// (Kubernetes).
func insideHost(hostport string) bool {
	host := hostOf(hostport)
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if i := strings.LastIndexByte(host, '.'); i >= 0 {
		switch host[i:] {
		case ".local", ".internal", ".svc", ".localhost":
			return true
		}
		return false
	}
	return host != ""
}

// hostOf is the host of host[:port], an IPv6 address without its brackets.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

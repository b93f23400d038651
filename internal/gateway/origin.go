package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// errCrossOrigin is the reason for refusing a request that another site's page
// caused.
var errCrossOrigin = errors.New("cross-origin")

// Origins are the origins beside our own whose pages may call us with the
// user's cookie: an exact list, compared whole, never by prefix, suffix or
// pattern, and without "null", which any sandboxed frame can have.
type Origins []string

func (o Origins) allow(origin string) bool {
	return origin != "" && origin != "null" && slices.Contains(o, origin)
}

// allowed is the origin that r comes from if that is on the list, else "". A request
// that names two comes from nobody in particular: a browser sends one, and whoever put
// the other one in front may be read first by one program and last by the next.
func (o Origins) allowed(r *http.Request) string {
	if origins := r.Header["Origin"]; len(origins) == 1 && o.allow(origins[0]) {
		return origins[0]
	}
	return ""
}

// sameSite refuses a request that a page of another origin caused. It believes
// fetch metadata first, because a page can't forge it, and then Origin with its
// scheme: http://app.example is not https://app.example. A request with neither
// is not a browser's, or an old one's, and rests on the CSRF token alone.
func (o Origins) sameSite(r *http.Request, client Client) error {
	origins := r.Header["Origin"]
	if len(origins) > 1 {
		return fmt.Errorf("%w: two Origin headers", errCrossOrigin)
	}
	if len(origins) == 1 && o.allow(origins[0]) {
		return nil
	}
	sites := r.Header["Sec-Fetch-Site"]
	if len(sites) > 1 {
		return fmt.Errorf("%w: two Sec-Fetch-Site headers", errCrossOrigin)
	}
	if len(sites) == 1 && sites[0] != "" && sites[0] != "same-origin" && sites[0] != "none" {
		return fmt.Errorf("%w: Sec-Fetch-Site", errCrossOrigin)
	}
	if len(origins) == 1 && origins[0] != client.Origin() {
		return fmt.Errorf("%w: Origin is not ours", errCrossOrigin)
	}
	return nil
}

// isPreflight tells a CORS preflight (fetch standard, section 3.2.2) from other
// OPTIONS requests.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header["Access-Control-Request-Method"]) > 0
}

// exposed are what a page of an allowed origin may read of our answers beside what
// every page may (Fetch section 2.2.5): what the answer's log line is found by, when to
// come again, and what a token has to be to be good (RFC 9728 section 5).
const exposed = "X-Correlation-ID, Retry-After, WWW-Authenticate"

// corsHeaders answers the CORS protocol on a response to an allowed origin.
// With a list configured every response varies by Origin, allowed or not, or a
// cache would give one origin's answer to another.
func (o Origins) corsHeaders(h http.Header, r *http.Request) {
	if len(o) == 0 {
		return
	}
	h.Add("Vary", "Origin")
	origin := o.allowed(r)
	if origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", exposed)
}

// preflight answers a preflight itself; none is ever forwarded, because the
// browser sends it without the user's credentials and believes what it says. With
// withToken a page may send an access token of its own.
func (o Origins) preflight(w http.ResponseWriter, r *http.Request, methods []string, withToken bool) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if len(o) > 0 {
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	}
	if o.allowed(r) != "" && len(methods) > 0 {
		headers := "Content-Type, X-CSRF-Token, X-Correlation-ID"
		if withToken {
			headers += ", Authorization"
		}
		h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
		h.Set("Access-Control-Allow-Headers", headers)
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

// isSafe reports whether a method is safe (RFC 9110 section 9.2.1). TRACE is,
// by the RFC, but offered nowhere here.
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

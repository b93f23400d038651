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
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
	default:
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
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// corsHeaders answers the CORS protocol on a response to an allowed origin.
// With a list configured every response varies by Origin, allowed or not, or a
// cache would give one origin's answer to another.
func (o Origins) corsHeaders(h http.Header, r *http.Request) {
	if len(o) == 0 {
		return
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !o.allow(origin) {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "X-Correlation-ID")
}

// preflight answers a preflight itself; none is ever forwarded, because the
// browser sends it without the user's credentials and believes what it says.
func (o Origins) preflight(w http.ResponseWriter, r *http.Request, methods []string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if o.allow(r.Header.Get("Origin")) && len(methods) > 0 {
		h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
		h.Set("Access-Control-Allow-Headers", "Content-Type, X-CSRF-Token, X-Correlation-ID")
		h.Set("Access-Control-Max-Age", "600")
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	}
	w.WriteHeader(http.StatusNoContent)
}

// isSafe reports whether a method is safe (RFC 9110 section 9.2.1). TRACE is,
// by the RFC, but offered nowhere here.
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

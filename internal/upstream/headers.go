package upstream

import (
	"net/http"
	"strconv"
	"strings"

	"keyway/internal/principal"
)

// Canonical forms, as net/http keeps them. On the wire case does not matter.
const (
	hCorrelationID  = "X-Correlation-Id"
	hUserID         = "X-User-Id"
	hUserEmail      = "X-User-Email"
	hUserName       = "X-User-Name"
	hSessionID      = "X-Session-Id"
	hAuthTime       = "X-Auth-Time"
	hOriginalUser   = "X-Original-User"
	hAuthorization  = "Authorization"
	hForwardedFor   = "X-Forwarded-For"
	hForwardedHost  = "X-Forwarded-Host"
	hForwardedProto = "X-Forwarded-Proto"
	hTraceParent    = "Traceparent"
	hTraceState     = "Tracestate"
	injectedMax     = 13
)

// forwardable is what an upstream gets of a client's header, before anything of ours
// is in it: a map that has room for what inject adds, with the client's own values,
// which nobody changes.
//
// What Connection names is for us (RFC 9110 section 7.6.1). So it goes before anything
// is added, and can't take that away. TE is for us too (section 10.1.4), but that the
// client takes trailers is of use only to whoever has them.
func forwardable(client http.Header) http.Header {
	h := make(http.Header, len(client)+injectedMax)
	for name, values := range client {
		if !reserved(name) {
			h[name] = values
		}
	}
	dropNamed(h, client["Connection"])
	delete(h, "Te")
	if hasToken(client["Te"], "trailers") {
		h["Te"] = takesTrailers
	}
	if cookies := h["Cookie"]; cookies != nil {
		if cookies = withoutOwn(cookies); len(cookies) > 0 {
			h["Cookie"] = cookies
		} else {
			delete(h, "Cookie")
		}
	}
	return h
}

var takesTrailers = []string{"trailers"}

// withoutOwn are the values of a Cookie header without the gateway's own cookies. It
// leaves its argument as it is.
func withoutOwn(values []string) []string {
	kept := make([]string, 0, len(values))
	for _, value := range values {
		if value = stripCookies(value); value != "" {
			kept = append(kept, value)
		}
	}
	return kept
}

// hopByHop are the fields that are for us, whether Connection names them or not (RFC
// 9110 section 7.6.1, and what RFC 2616 section 13.5.1 knew besides).
var hopByHop = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// dropHopByHop removes from an upstream's response header what it says to us alone.
func dropHopByHop(h http.Header) {
	dropNamed(h, h["Connection"])
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// dropNamed removes what the values of a Connection header name; but not what says how
// the content is to be read. That is for all recipients, and a sender must not name it
// (RFC 9110 section 7.6.1): without it the next one could read other content than we did.
func dropNamed(h http.Header, connection []string) {
	for _, list := range connection {
		for name := range splitList(list) {
			if name = http.CanonicalHeaderKey(name); !strings.HasPrefix(name, "Content-") {
				delete(h, name)
			}
		}
	}
}

// injector sets headers whose values share one allocation. The array is made
// anew for each request: a transport may still be writing the last one's.
type injector struct {
	header http.Header
	values []string
}

func newInjector(h http.Header) injector {
	return injector{header: h, values: make([]string, 0, injectedMax)}
}

// set adds a header under its canonical name, unless there is nothing to say or
// the value is too long to be what it claims.
func (in *injector) set(name, value string) {
	if value == "" || len(value) > maxValue {
		return
	}
	in.raw(name, encodeValue(value))
}

func (in *injector) raw(name, value string) {
	n := len(in.values)
	in.values = append(in.values, value)
	in.header[name] = in.values[n : n+1 : n+1]
}

// SetIdentity sets the headers that say who is signed in, as an upstream gets
// them; none for nobody. It is for whoever tells another proxy.
func SetIdentity(h http.Header, who *principal.Principal) {
	in := newInjector(h)
	in.identity(who)
}

func (in *injector) identity(who *principal.Principal) {
	if who == nil || who.Subject == "" || len(who.Subject) > maxValue {
		return
	}
	in.set(hUserID, who.Subject)
	if plainEmail(who.Email) {
		in.set(hUserEmail, who.Email)
	}
	in.set(hUserName, who.Name)
	in.set(hSessionID, who.SessionID)
	if !who.AuthTime.IsZero() {
		in.raw(hAuthTime, strconv.FormatInt(who.AuthTime.Unix(), 10))
	}
	// Account escapes for itself; twice would name somebody else.
	in.raw(hOriginalUser, who.Account())
}

// inject adds the gateway's own headers to h, which has none of their names.
func inject(h http.Header, req *Request, authorization string) {
	in := newInjector(h)
	in.set(hCorrelationID, req.CorrelationID)
	in.identity(req.Principal)
	if authorization != "" {
		in.raw(hAuthorization, authorization)
	}
	if req.ClientIP.IsValid() {
		in.raw(hForwardedFor, encodeValue(req.ClientIP.Unmap().WithZone("").String()))
	}
	in.set(hForwardedHost, req.Host)
	in.set(hForwardedProto, req.Scheme)
	// As they are: whoever gave them has checked their form, in which % is a letter.
	if req.TraceParent != "" && len(req.TraceParent)+len(req.TraceState) <= maxValue {
		in.raw(hTraceParent, req.TraceParent)
		if req.TraceState != "" {
			in.raw(hTraceState, req.TraceState)
		}
	}
}

// cleanResponse removes from an upstream's response headers what is not the
// upstream's to say; already holds what the gateway has put into the response.
// Which origins may read is the gateway's list to say: an upstream that reflects
// whatever Origin it is sent would open every session to every site.
func cleanResponse(h, already http.Header) {
	noStore := hasToken(already["Cache-Control"], "no-store")
	if values := h["Set-Cookie"]; len(values) > 0 {
		kept := values[:0]
		for _, value := range values {
			if !ownSetCookie(value) {
				kept = append(kept, value)
			}
		}
		if len(kept) == 0 {
			delete(h, "Set-Cookie")
		} else {
			h["Set-Cookie"] = kept
			// A stored response would set somebody's cookie for everybody.
			h["Cache-Control"] = []string{"no-store"}
			noStore = true
		}
	}
	for name := range h {
		if name != "Cache-Control" && notForClients(name, noStore) {
			delete(h, name)
		}
	}
	for name := range already {
		if name != "Set-Cookie" && name != "Vary" {
			delete(h, name)
		}
	}
}

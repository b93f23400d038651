package upstream

import (
	"net/http"
	"strconv"

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

// scrub removes from a client's headers what must not reach an upstream.
func scrub(h http.Header) {
	for name := range h {
		if reserved(name) {
			delete(h, name)
		}
	}
	scrubCookies(h)
}

func scrubCookies(h http.Header) {
	values := h["Cookie"]
	kept := values[:0]
	for _, value := range values {
		if value = stripCookies(value); value != "" {
			kept = append(kept, value)
		}
	}
	switch {
	case len(values) == 0:
	case len(kept) == 0:
		delete(h, "Cookie")
	default:
		h["Cookie"] = kept
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

// inject adds the gateway's own headers to h, which has been scrubbed.
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

package gateway

import (
	"net/http"
	"strings"
	"time"

	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/upstream"
)

// family is a pair of headers by which a proxy says which request it holds back.
type family struct{ method, uri string }

// target is the request target (RFC 9112 section 3.2.1) of the request in question.
func (q question) target() string {
	if q.query == "" {
		return q.path
	}
	return q.path + "?" + q.query
}

// heldBack is the request that the proxy holds back until it has our answer, if one
// that we trust tells us. What it tells must be there once and whole: of two values
// one may be the client's, and what we read in one way the next server may read in
// another. So nothing is guessed.
func (c *call) heldBack(f family) (q question, known bool, err error) {
	methods, uris := c.r.Header[f.method], c.r.Header[f.uri]
	if !c.client.Trusted {
		if methods != nil || uris != nil {
			c.strangerAsks()
		}
		return question{}, false, nil
	}
	if methods == nil && uris == nil {
		return question{}, false, nil
	}
	if len(methods) != 1 || len(uris) != 1 {
		return question{}, false, problem.Newf(problem.BadRequest, "expected one %s and one %s, found %d and %d", f.method, f.uri, len(methods), len(uris))
	}
	q.method = methods[0]
	if !originalMethod(q.method) {
		return question{}, false, problem.Newf(problem.BadRequest, "expected a method in %s, found something else", f.method)
	}
	// As it is for a request that we forward: what two servers could read
	// differently is nobody's to decide. Absolute form, too: its host is not ours to
	// take from here.
	if q.path, q.query, err = route.SplitTarget(uris[0]); err != nil {
		return question{}, false, ambiguous(err)
	}
	return q, true, c.consistent(q)
}

// strangerAsks has the log say, once a minute, that a neighbour asks about requests
// and is not trusted: likely a proxy whose operator forgot to say so. Its users are
// let in by their sessions alone, and what routes.yaml demands of their requests does
// not count, which nobody sees by looking at what is let through.
func (c *call) strangerAsks() {
	p := peer(c.r)
	if !p.IsPrivate() && !p.IsLoopback() {
		return
	}
	now, next := time.Now().UnixNano(), c.gateway.strangers.Load()
	if now < next || !c.gateway.strangers.CompareAndSwap(next, now+int64(noteEvery)) {
		return
	}
	c.gateway.log.Warn("who asks about requests is not trusted, so that routes.yaml does not count for them: if it is a proxy of yours, add it to BFF_TRUSTED_PROXIES", "peer", p.String())
}

// maxMethod is longer than any registered method (RFC 9110 section 16.1.1).
const maxMethod = 24

// originalMethod accepts a token (RFC 9110 section 5.6.2) of capital letters, as
// every registered method is but for hyphens. A tunnel, or an echo of the request
// with its cookies, is nobody's to ask for.
func originalMethod(m string) bool {
	if m == "" || len(m) > maxMethod || m == http.MethodConnect || m == http.MethodTrace {
		return false
	}
	for i := 0; i < len(m); i++ {
		if !('A' <= m[i] && m[i] <= 'Z' || m[i] == '-' && i > 0) {
			return false
		}
	}
	return true
}

// consistent refuses a request with headers by which it would be another one to some
// application behind the proxy: decided would be one thing, and done another. The
// proxy passes them on, in any spelling, unless it was told otherwise.
func (c *call) consistent(q question) error {
	if !originalMethod(q.method) {
		return problem.Newf(problem.BadRequest, "expected another method than %.*q", maxMethod, q.method)
	}
	var buf [48]byte
	for name, values := range c.r.Header {
		kind := overrides[string(upstream.Fold(buf[:0], name))]
		for _, value := range values {
			if kind == overridesMethod && !strings.EqualFold(value, q.method) ||
				kind == overridesTarget && !sameTarget(value, q) {
				return problem.Newf(problem.Forbidden, "%s would make it another request than it is", name)
			}
		}
	}
	return nil
}

const (
	overridesMethod = iota + 1
	overridesTarget
)

// overrides are headers, folded, that frameworks take for the request's own line.
var overrides = map[string]int{
	"x-http-method-override": overridesMethod,
	"x-http-method":          overridesMethod,
	"x-method-override":      overridesMethod,
	"x-original-url":         overridesTarget,
	"x-rewrite-url":          overridesTarget,
}

// sameTarget compares a target, or a whole URL as some servers write it, with the
// request's own.
func sameTarget(value string, q question) bool {
	for _, scheme := range [...]string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(value, scheme); ok {
			i := strings.IndexByte(rest, '/')
			if i < 0 {
				return false
			}
			value = rest[i:]
			break
		}
	}
	path, query, _ := strings.Cut(value, "?")
	return path == q.path && query == q.query
}

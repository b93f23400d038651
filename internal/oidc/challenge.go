package oidc

import (
	"net/http"
	"strings"
)

// challenge is one challenge of a WWW-Authenticate header.
type challenge struct {
	scheme string            // in lower case, as it is compared
	params map[string]string // names in lower case; the first of each counts
}

// refusesClient reports whether an answer with status 401 that has no `error` in
// its body refuses our client authentication all the same.
//
// An authorization server that refuses a client has to say `error`, and if the
// client came by the Authorization header, has to challenge for its scheme (RFC
// 6749 section 5.2). One that fails in the first and does the second is believed.
// Without either, the answer may be about anything: a proxy before it, or the
// token that we ask about, which strangers hand us by the thousand. If that were
// taken for a refusal of our credential, they could have a good one rolled back.
//
// And a challenge for Bearer that gives an error is about a token (RFC 6750
// section 3.1, to which RFC 7662 section 2.3 points for introspection), whatever
// else is offered beside it.
func refusesClient(h http.Header) bool {
	all, ok := challenges(h)
	if !ok {
		return false
	}
	basic := false
	for _, c := range all {
		switch c.scheme {
		case "bearer":
			if _, failed := c.params["error"]; failed {
				return false
			}
		case "basic":
			basic = true
		}
	}
	return basic
}

// challenges reads all WWW-Authenticate headers (RFC 9110 section 11.6.1), each a
// list of challenges whose parameters are separated by commas, too. ok is false
// when one can't be read to its end: what it would have said is not known. That
// is so of the few schemes that send other than parameters.
func challenges(h http.Header) (all []challenge, ok bool) {
	for _, rest := range h.Values("WWW-Authenticate") {
		begun := false // a challenge of this header, for parameters
		for {
			rest = strings.TrimLeft(rest, " \t,")
			if rest == "" {
				break
			}
			name := tokenOf(rest)
			if name == "" {
				return nil, false
			}
			rest = rest[len(name):]
			name = strings.ToLower(name)
			if value, after, is := parameter(rest); is && begun {
				params := all[len(all)-1].params
				if _, twice := params[name]; !twice {
					params[name] = value
				}
				rest = after
				continue
			}
			all, begun = append(all, challenge{name, map[string]string{}}), true
		}
	}
	return all, true
}

// tokenOf is the token (RFC 9110 section 5.6.2) that s begins with.
func tokenOf(s string) string {
	end := strings.IndexFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	})
	if end < 0 {
		return s
	}
	return s[:end]
}

// parameter reads "=" and a value, a token or a quoted string.
func parameter(s string) (value, after string, ok bool) {
	s, found := strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
	if !found {
		return "", "", false
	}
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		value = tokenOf(s)
		return value, s[len(value):], value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false // it has no end
}

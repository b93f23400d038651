package upstream

import (
	"strconv"
	"strings"
)

// stripCookies removes the gateway's own cookies from the value of a Cookie
// header and leaves every other byte as it is. When there is nothing to remove
// it returns its argument; when nothing is left, the empty string.
//
// The value is cut at each semicolon, inside quotes too: RFC 6265 section 4.2.1
// knows no quoted semicolon, but some servers do, and a cookie of ours must not
// pass because it sits between quotes.
func stripCookies(value string) string {
	if !mayHoldOwn(value) {
		return value
	}
	var kept strings.Builder
	found := false
	for rest, more := value, true; more; {
		var pair string
		start := len(value) - len(rest)
		pair, rest, more = strings.Cut(rest, ";")
		if ownCookie(cookieName(pair)) {
			if !found {
				found = true
				kept.Grow(len(value))
				kept.WriteString(strings.TrimSuffix(value[:start], ";"))
			}
			continue
		}
		if found {
			if kept.Len() > 0 {
				kept.WriteByte(';')
			} else {
				pair = strings.TrimLeft(pair, " \t")
			}
			kept.WriteString(pair)
		}
	}
	if !found {
		return value
	}
	return strings.Trim(kept.String(), " \t")
}

// cookieName is what a lenient server might take for the name of the pair: the
// text before the first "=" that has text before it. A nameless cookie
// ("=bff_session=x") is sent back by browsers as its value alone, which then
// reads as a named one.
func cookieName(pair string) string {
	pair = strings.TrimLeft(pair, " \t=")
	name, _, _ := strings.Cut(pair, "=")
	return strings.TrimRight(name, " \t")
}

// ownCookie reports whether some server might take name for one of the gateway's:
// bff_session, bff_csrf (with any suffix such as ".1"), bff_login_*, each also under
// name prefixes of RFC 6265bis section 4.1.3, more than one of them too.
//
// Servers decode "%5F", take off quotes, ignore case, and put "_" for ".", " " and
// "[" (PHP does all but the quotes). So names are compared after decoding and
// folding, as those of headers are; it costs others the names that fold into ours.
func ownCookie(name string) bool {
	if !mayHoldOwn(name) {
		return false
	}
	for range maxDecodings {
		decoded := percentDecoded(name)
		if decoded == name {
			break
		}
		name = decoded
	}
	folded := string(Fold(make([]byte, 0, len(name)), name))
	for {
		rest := folded
		for _, prefix := range [...]string{"host-", "secure-", "http-"} {
			rest = strings.TrimPrefix(rest, prefix)
		}
		if rest == folded {
			break
		}
		folded = rest
	}
	for _, own := range [...]string{"bff-session", "bff-csrf", "bff-login"} {
		if rest, ok := strings.CutPrefix(folded, own); ok && (rest == "" || rest[0] == '-') {
			return true
		}
	}
	return false
}

// maxDecodings is how often a name is percent-decoded: once more than any server
// behind a server that decodes for it is likely to.
const maxDecodings = 3

// percentDecoded decodes what is well-formed, and leaves the rest.
func percentDecoded(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// mayHoldOwn is a quick test that spares most requests a closer look.
func mayHoldOwn(value string) bool {
	for i := range len(value) {
		switch c := value[i]; {
		case c == '%':
			return true
		case c|0x20 == 'b' && i+2 < len(value) && value[i+1]|0x20 == 'f' && value[i+2]|0x20 == 'f':
			return true
		}
	}
	return false
}

// ownSetCookie reports whether a Set-Cookie value sets one of our cookies.
func ownSetCookie(value string) bool {
	if !mayHoldOwn(value) {
		return false
	}
	pair, _, _ := strings.Cut(value, ";")
	return ownCookie(cookieName(pair))
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

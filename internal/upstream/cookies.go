package upstream

import "strings"

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

// ownCookie reports whether name belongs to the gateway: bff_session, bff_csrf
// (with any suffix such as ".1"), bff_login_*, each also under a name prefix of
// RFC 6265bis section 4.1.3. Case is ignored, because some servers do.
func ownCookie(name string) bool {
	name = trimPrefixFold(trimPrefixFold(name, "__Host-"), "__Secure-")
	if hasPrefixFold(name, "bff_login_") {
		return true
	}
	for _, own := range [...]string{"bff_session", "bff_csrf"} {
		if hasPrefixFold(name, own) && (len(name) == len(own) || !isAlphanumeric(name[len(own)])) {
			return true
		}
	}
	return false
}

// mayHoldOwn is a quick test that spares most requests a closer look.
func mayHoldOwn(value string) bool {
	for i := 0; i+4 <= len(value); i++ {
		if value[i+3] == '_' && value[i]|0x20 == 'b' && value[i+1]|0x20 == 'f' && value[i+2]|0x20 == 'f' {
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

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func trimPrefixFold(s, prefix string) string {
	if hasPrefixFold(s, prefix) {
		return s[len(prefix):]
	}
	return s
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

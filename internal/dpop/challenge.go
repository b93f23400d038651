package dpop

import (
	"net/http"
	"strings"
)

// WantsNonce reports whether a resource's answer refuses a proof for its nonce and
// nothing else (section 9): status 401 and a challenge of the scheme DPoP whose error
// is use_dpop_nonce, once.
func WantsNonce(status int, h http.Header) bool {
	if status != http.StatusUnauthorized {
		return false
	}
	for _, value := range h["Www-Authenticate"] {
		scheme, params, _ := strings.Cut(strings.TrimLeft(value, " \t,"), " ")
		for {
			if strings.EqualFold(scheme, Scheme) && hasNonceError(params) {
				return true
			}
			// Another scheme's challenge may stand before ours in the same header.
			i := indexScheme(params)
			if i < 0 {
				break
			}
			scheme, params = Scheme, params[i+len(Scheme):]
		}
	}
	return false
}

// indexScheme finds a further challenge of our scheme: behind a comma.
func indexScheme(s string) int {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], ',')
		if i < 0 {
			return -1
		}
		from += i + 1
		rest := strings.TrimLeft(s[from:], " \t")
		at := len(s) - len(rest)
		if len(rest) > len(Scheme) && strings.EqualFold(rest[:len(Scheme)], Scheme) && rest[len(Scheme)] == ' ' {
			return at
		}
	}
}

// hasNonceError looks for error="use_dpop_nonce" among the parameters.
func hasNonceError(params string) bool {
	for item := range strings.SplitSeq(params, ",") {
		name, value, _ := strings.Cut(item, "=")
		if strings.EqualFold(strings.TrimSpace(name), "error") {
			return strings.Trim(strings.TrimSpace(value), `"`) == NonceError
		}
	}
	return false
}

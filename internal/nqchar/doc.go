// Package nqchar knows the characters that can be quoted as they are: NQCHAR of RFC
// 6749 appendix A, which is printable ASCII without space, quote and backslash. Scopes
// (section 3.3) and nonces (RFC 9449 section 8.1) consist of them, and what consists of
// them can stand in a challenge's quoted string (RFC 9110 section 5.6.4) with nothing
// escaped.
package nqchar

// Only reports whether s has such characters and no others. That is so for "", which
// is neither a scope nor a nonce.
func Only(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

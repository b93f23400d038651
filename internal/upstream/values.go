package upstream

import "strings"

// maxValue bounds an injected value before encoding, in bytes.
const maxValue = 1024

const upperHex = "0123456789ABCDEF"

// encodeValue makes s safe as a header's value: printable ASCII, without "%" and
// without space at its ends, stays as it is; every other byte becomes %XX. What
// comes out is decoded exactly by percent-decoding, and holds no CR, LF, NUL or
// non-ASCII byte (RFC 9110 section 5.5).
func encodeValue(s string) string {
	escapes := 0
	for i := range len(s) {
		if mustEscape(s, i) {
			escapes++
		}
	}
	if escapes == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*escapes)
	for i := range len(s) {
		if c := s[i]; mustEscape(s, i) {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func mustEscape(s string, i int) bool {
	c := s[i]
	return c < ' ' || c > '~' || c == '%' || c == ' ' && (i == 0 || i == len(s)-1)
}

// plainEmail reports whether every program will read s as the same address: one
// "@" with something before it and a domain after it, and none of the characters
// that quote, separate or comment in RFC 5322.
func plainEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`"(),:;<>[\]`, c) >= 0 {
			return false
		}
	}
	return !strings.Contains(domain, "@")
}

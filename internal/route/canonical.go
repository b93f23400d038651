package route

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxQueryParams is how many parameters a query may have. Go's own parser stops
// long before what an upstream may accept, so a value hidden past the limit
// would be seen by the upstream and not by the policy.
const MaxQueryParams = 1000

// AmbiguousError says that a path or query can be read in more than one way.
// Its text never repeats what was sent.
type AmbiguousError struct {
	Part   string // "path", "query" or "target"
	Reason string
}

func (e *AmbiguousError) Error() string { return "ambiguous " + e.Part + ": " + e.Reason }

// The refusals are allocated once: an attacker cannot make them cost memory.
var (
	errPathStart     = &AmbiguousError{"path", "it does not start with a slash"}
	errPathByte      = &AmbiguousError{"path", "a character that must be percent-encoded is not"}
	errPathControl   = &AmbiguousError{"path", "a control character"}
	errPathBackslash = &AmbiguousError{"path", "a backslash, plain or encoded"}
	errPathSemicolon = &AmbiguousError{"path", "a path parameter (;), plain or encoded"}
	errPathEmpty     = &AmbiguousError{"path", "an empty segment (//)"}
	errPathDots      = &AmbiguousError{"path", "a dot segment, plain or encoded"}
	errPathSlash     = &AmbiguousError{"path", "an encoded slash"}
	errPathEscape    = &AmbiguousError{"path", "an invalid percent-escape"}
	errPathDouble    = &AmbiguousError{"path", "a percent-escape inside a percent-escape"}
	errPathUTF8      = &AmbiguousError{"path", "escapes that are not UTF-8"}

	errQueryEscape    = &AmbiguousError{"query", "an invalid percent-escape"}
	errQuerySemicolon = &AmbiguousError{"query", "a raw semicolon"}
	errQueryControl   = &AmbiguousError{"query", "a control character"}
	errQueryByte      = &AmbiguousError{"query", "a character that must be percent-encoded is not"}
	errQueryCount     = &AmbiguousError{"query", "more than 1000 parameters"}

	errTargetForm = &AmbiguousError{"target", "it is not a path"}
)

// SplitTarget cuts a request target (RFC 9112 section 3.2, origin form) into
// path and query, both as sent, and refuses what Canonical or CheckQuery
// refuse. Give it http.Request.RequestURI rather than URL: net/url has already
// re-encoded some of what a client sent (a raw '#', for one).
func SplitTarget(requestURI string) (escapedPath, rawQuery string, err error) {
	if !strings.HasPrefix(requestURI, "/") {
		return "", "", errTargetForm
	}
	escapedPath, rawQuery, _ = strings.Cut(requestURI, "?")
	if err := Canonical(escapedPath); err != nil {
		return "", "", err
	}
	if err := CheckQuery(rawQuery); err != nil {
		return "", "", err
	}
	return escapedPath, rawQuery, nil
}

// Canonical refuses an escaped path that two servers could read differently,
// with an *AmbiguousError. For a path that it accepts, decoding once gives
// valid UTF-8 in which no slash, backslash, dot segment, path parameter,
// control character or further escape appears that was not there before
// (RFC 3986 sections 3.3 and 6.2.2), and net/url forwards it unchanged.
func Canonical(escapedPath string) error {
	// A typed nil must not become a non-nil error.
	if e := canonical(escapedPath); e != nil {
		return e
	}
	return nil
}

func canonical(p string) *AmbiguousError {
	if p == "" || p[0] != '/' {
		return errPathStart
	}
	start, escaped := 1, false
	for i := 1; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			switch class := pathByte[p[i]]; class {
			case byteOK:
			case byteEscape:
				escaped = true
			default:
				return refusal[class]
			}
			continue
		}
		seg := p[start:i]
		// Only the last segment may be empty: that is a trailing slash.
		if seg == "" && i < len(p) {
			return errPathEmpty
		}
		if seg == "." || seg == ".." {
			return errPathDots
		}
		if escaped {
			if e := checkEscaped(seg); e != nil {
				return e
			}
		}
		start, escaped = i+1, false
	}
	return nil
}

// checkEscaped looks at what one segment decodes to.
func checkEscaped(seg string) *AmbiguousError {
	dec, ok := decode(seg)
	if !ok {
		return errPathEscape
	}
	if dec == "." || dec == ".." {
		return errPathDots
	}
	if !utf8.ValidString(dec) {
		return errPathUTF8
	}
	for i, r := range dec {
		switch {
		case r == '/':
			return errPathSlash
		case r == '\\':
			return errPathBackslash
		case r == ';':
			return errPathSemicolon
		case unicode.IsControl(r):
			return errPathControl
		case r == '%' && i+2 < len(dec) && isHex(dec[i+1]) && isHex(dec[i+2]):
			// %252f, but also %25%32%66: a second decoding would find a slash.
			return errPathDouble
		}
	}
	return nil
}

// CheckQuery refuses a raw query that a policy and an upstream could read
// differently, with an *AmbiguousError: bad escapes, semicolons (a separator to
// some), control characters, anything that RFC 3986 section 3.4 wants encoded
// and changes where a query ends, and more than MaxQueryParams parameters.
func CheckQuery(raw string) error {
	params := 1
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '&':
			if params++; params > MaxQueryParams {
				return errQueryCount
			}
		case c == '%':
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return errQueryEscape
			}
			if raw[i+1] == '0' && raw[i+2] == '0' {
				return errQueryControl
			}
			i += 2
		case c == ';':
			return errQuerySemicolon
		case c < 0x20 || c == 0x7f:
			return errQueryControl
		case c == '#' || c == ' ' || c >= 0x80:
			return errQueryByte
		}
	}
	return nil
}

const (
	byteOK = iota
	byteEscape
	byteBad
	byteControl
	byteBackslash
	byteSemicolon
)

var refusal = [...]*AmbiguousError{
	byteBad: errPathByte, byteControl: errPathControl,
	byteBackslash: errPathBackslash, byteSemicolon: errPathSemicolon,
}

// pathByte classes every byte of a raw path: pchar of RFC 3986, less ';', and
// the brackets, which browsers send raw and net/url leaves alone.
var pathByte = func() (t [256]uint8) {
	const ok = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,=:@[]/"
	for c := range t {
		switch {
		case c < 0x20 || c == 0x7f:
			t[c] = byteControl
		default:
			t[c] = byteBad
		}
	}
	for _, c := range []byte(ok) {
		t[c] = byteOK
	}
	t['%'], t['\\'], t[';'] = byteEscape, byteBackslash, byteSemicolon
	return t
}()

// decode undoes percent-encoding once. It allocates only if there is any.
func decode(s string) (string, bool) {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s, true
	}
	out := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return "", false
		}
		out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
		i += 2
	}
	return string(out), true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

package oidc

import (
	"net/url"
	"slices"
	"strings"

	"keyway/internal/problem"
)

// maxReturnTo keeps the login cookie small.
const maxReturnTo = 1024

// ReturnPolicy decides where a sign-in or a sign-out may lead. The zero value
// allows a path on this site, and nothing else.
type ReturnPolicy struct {
	// AllowedHosts are hosts, with a port if it is not 443, whose https URLs are
	// accepted too (BFF_ALLOWED_REDIRECT_HOSTS). Compared exactly, but for case.
	AllowedHosts []string
}

// Check returns where to go for a return_to that somebody sent, or an error of
// the kind ErrReturnTo. Empty means "/".
//
// Accepted is a path that every browser, proxy and library reads as a path on
// this very site: it begins with one slash, has no empty or dot segment, no
// backslash, no control, space or non-ASCII character, and none of these when
// its escapes are undone either, once or repeatedly. That is stricter than the
// URL standard, because open redirects live where two readers differ.
func (p ReturnPolicy) Check(raw string) (string, error) {
	if raw == "" {
		return "/", nil
	}
	if len(raw) > maxReturnTo {
		return "", fail(problem.BadRequest, ErrReturnTo, "expected at most %d bytes, found %d", maxReturnTo, len(raw))
	}
	rest := raw
	if !strings.HasPrefix(raw, "/") {
		host, ok := p.allowed(raw)
		if !ok {
			return "", fail(problem.BadRequest, ErrReturnTo, "expected a path on this site, found another address")
		}
		if rest = raw[len("https://")+len(host):]; rest == "" {
			return raw + "/", nil
		}
	}
	if !plainPath(rest) {
		return "", fail(problem.BadRequest, ErrReturnTo, "expected a plain path on this site, found one that could be read as another site")
	}
	// The whole must also be what the library takes it for.
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.User != nil || (rest == raw) != (u.Host == "" && u.Scheme == "") {
		return "", fail(problem.BadRequest, ErrReturnTo, "expected a path on this site, found an address that does not parse")
	}
	return raw, nil
}

// allowed finds the allowed host that an https URL names, as it is spelled
// there. What follows the host must begin a path, or be nothing.
func (p ReturnPolicy) allowed(raw string) (host string, ok bool) {
	after, isHTTPS := strings.CutPrefix(raw, "https://")
	if !isHTTPS {
		return "", false
	}
	host, _, _ = strings.Cut(after, "/")
	return host, host != "" && slices.ContainsFunc(p.AllowedHosts, func(a string) bool { return strings.EqualFold(a, host) })
}

// maxUnescapes is how often escapes are undone. What still has escapes after
// that is refused: nobody honest escapes a path four times.
const maxUnescapes = 3

func plainPath(s string) bool {
	if !plainCharacters(s) {
		return false
	}
	path, _, _ := strings.Cut(s, "#")
	path, _, _ = strings.Cut(path, "?")
	for times := range maxUnescapes + 1 {
		if !plainSegments(path) {
			return false
		}
		undone, err := url.PathUnescape(path)
		if err != nil {
			return times > 0 // "/100%25": a percent sign that stands for itself
		}
		if undone == path {
			return true
		}
		path = undone
	}
	return false
}

// plainCharacters refuses what is dropped, turned into a slash, or taken for
// the end of a header by somebody: controls, white space, backslashes, quotes,
// angle brackets, and everything beyond ASCII (full-width slashes among it).
func plainCharacters(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '"' || c == '<' || c == '>' {
			return false
		}
	}
	return true
}

// plainSegments checks a path, escaped or not: an escaped letter of another
// alphabet is fine, an escaped slash at the front is not.
func plainSegments(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	for _, look := range []string{"／", "＼", "⁄", "∕", "⧸", "⧹", "﹨", "。", "\u0085", "\u2028", "\u2029", "\ufeff", "\u200b"} {
		if strings.Contains(path, look) { // what some normalising reader makes a slash, a dot or nothing of
			return false
		}
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		switch segment = strings.TrimSpace(segment); {
		case segment == "" && i < len(segments)-1, segment == ".", segment == "..":
			return false
		}
	}
	return true
}

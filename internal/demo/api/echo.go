package api

import (
	"errors"
	"io"
	"net/http"
	"strings"
)

const maxEchoBody = 1 << 20 // bytes of a request's body that echo reads before it answers

// Seen is what /echo, and every path below it, answers: the request as this upstream saw it.
type Seen struct {
	Method string `json:"method"`
	// Path is as it came, still percent-encoded.
	Path string `json:"path"`
	// Query is as it came, without the "?".
	Query string `json:"query"`
	Proto string `json:"proto"`
	Host  string `json:"host"`
	// Headers has one value per name: several field lines of one name are joined
	// with ", " (RFC 9110 section 5.2). Credentials are left out.
	Headers map[string]string `json:"headers"`
	// Trailers are fields that came after a chunked body.
	Trailers  map[string]string `json:"trailers,omitempty"`
	BodyBytes int64             `json:"body_bytes"`
}

func (s *server) echo(w http.ResponseWriter, r *http.Request, _ Subject) {
	// Trailers are known only once the body has been read (RFC 9110 section 6.5).
	n, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxEchoBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		writeProblem(w, r, problem{http.StatusRequestEntityTooLarge, "too_large", "Echo reads at most one megabyte."})
		return
	}
	if err != nil {
		writeProblem(w, r, problem{http.StatusBadRequest, "bad_request", "The request's body could not be read to its end."})
		return
	}
	// Wherever else the token may have been put, in a query or a header of
	// somebody's own, it is not shown there either.
	token, _ := bearerToken(r.Header.Values("Authorization"))
	hide := func(s string) string { return strings.ReplaceAll(s, token, "…") }
	writeJSON(w, http.StatusOK, Seen{
		Method: r.Method, Path: hide(r.URL.EscapedPath()), Query: hide(r.URL.RawQuery), Proto: r.Proto, Host: r.Host,
		Headers: shown(r.Header, hide), Trailers: shown(r.Trailer, hide), BodyBytes: n,
	})
}

// shown joins the field lines of each name, without their secrets.
func shown(h http.Header, hide func(string) string) map[string]string {
	out := make(map[string]string, len(h))
	for name, values := range h {
		parts := make([]string, 0, len(values))
		for _, v := range values {
			parts = append(parts, hide(withoutSecret(name, v)))
		}
		out[name] = strings.Join(parts, ", ")
	}
	return out
}

// withoutSecret keeps what is worth seeing of a field that carries a credential:
// the scheme, the names of cookies. An echo that gave the values back would turn
// a token or an HttpOnly cookie into something that script can read, which is
// what a BFF is there to prevent.
func withoutSecret(name, value string) string {
	// Other spellings of a name are other fields to this server, but may be the
	// same one to the next (X_Api, x.api), so they are treated alike.
	switch strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name)) {
	case "authorization", "proxy-authorization":
		// A value without a space has no scheme to tell from the credential.
		if scheme, _, ok := strings.Cut(value, " "); ok && isToken(scheme) {
			return scheme + " …"
		}
		return "…"
	case "cookie":
		var names []string
		for pair := range strings.SplitSeq(value, ";") {
			if k, _, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && isToken(k) {
				names = append(names, k+"=…")
			} else {
				names = append(names, "…")
			}
		}
		return strings.Join(names, "; ")
	default:
		return value
	}
}

// isToken says whether s looks like an authentication scheme or a cookie's name
// rather than like something that could itself be a secret: letters, digits,
// "-" and "_", and short.
func isToken(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

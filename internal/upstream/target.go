package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"keyway/internal/problem"
)

// CheckForm refuses requests that no reverse proxy should act on: CONNECT and
// TRACE, and request targets in any but the origin form (RFC 9112 section 3.2),
// whose host would otherwise pass for the one asked for. The error is a
// *[problem.Error]. [Proxy.Forward] calls it; a gateway may call it earlier. The
// client's connection is to be closed with the answer, because what follows on it
// may have been meant for a tunnel.
func CheckForm(r *http.Request) error {
	switch {
	case r.Method == http.MethodConnect, r.Method == http.MethodTrace:
		return problem.Newf(problem.BadRequest, "expected a request for a resource, found the method %s", r.Method)
	case r.URL.Host != "" || r.URL.Scheme != "" || r.URL.Opaque != "" || r.URL.User != nil || !strings.HasPrefix(r.URL.Path, "/"):
		return problem.Newf(problem.BadRequest, "expected a request target that begins with a slash, found another form")
	}
	return nil
}

// checkPath refuses an escaped path that would not go out, or not be understood,
// as it is. The route table has decided already; this is so that a mistake there
// can't become a request to somewhere else.
func checkPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return errors.New("expected one leading slash, found none")
	case strings.HasPrefix(path, "//"):
		return errors.New("expected one leading slash, found two")
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '?' || c == '#' || c == '\\' {
			return fmt.Errorf("expected an escaped path, found the byte 0x%02x in it", c)
		}
	}
	return nil
}

func checkQuery(query string) error {
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == 0x7f || c == '#' {
			return fmt.Errorf("expected an escaped query, found the byte 0x%02x in it", c)
		}
	}
	return nil
}

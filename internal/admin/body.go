package admin

import (
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/problem"
)

// maxBody is the most that a body may have, in bytes.
const maxBody = 64 << 10

// readBody reads a JSON object with members from known into v. The media type is
// asked for because pages of other sites can send any other kind without asking
// first (a form's, or text/plain).
func readBody(w http.ResponseWriter, r *http.Request, v any, known ...string) error {
	kinds := r.Header.Values("Content-Type")
	media, _, err := mime.ParseMediaType(strings.Join(kinds, ", "))
	if len(kinds) != 1 || err != nil || media != "application/json" {
		return fail(http.StatusUnsupportedMediaType, codeUnsupportedMedia, "expected Content-Type: application/json")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return fail(http.StatusUnsupportedMediaType, codeUnsupportedMedia, "expected a body without Content-Encoding")
	}
	// The deadline is for the body only: beyond it net/http would take a silent
	// client for one that is gone. Without support for it the server's own holds.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return fail(http.StatusRequestEntityTooLarge, problem.TooLarge, "expected a body of at most %d bytes", maxBody)
	}
	if err != nil {
		return badRequest("the body can't be read")
	}
	return decode(data, v, known)
}

// decode refuses what two readers could understand differently: members that
// occur twice, and ones that are not known, which may be misspelt ("compromized").
func decode(data []byte, v any, known []string) error {
	members := map[string]any{}
	if err := jwks.DecodeObject(data, &members); err != nil {
		return badRequest("the body: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(known, name) {
			return badRequest("the body: unknown member %.50q; expected %s", name, strings.Join(known, ", "))
		}
	}
	if err := jwks.DecodeObject(data, v); err != nil {
		return badRequest("the body: %v", err)
	}
	return nil
}

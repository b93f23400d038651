package gateway

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"keyway/internal/problem"
	"keyway/internal/upstream"
)

// bodyWithin bounds how long a body may take that has to be read before anything can
// be decided.
const bodyWithin = 10 * time.Second

// Why a body says nothing about what to ask. They deny.
var (
	errHeldBack  = errors.New("the body decides, and who asks about the request does not have it")
	errNoBody    = errors.New("the body decides, and there is none")
	errNotJSON   = errors.New("the body decides, and by its Content-Type, which has to be there once, it is no JSON in UTF-8")
	errEncoded   = errors.New("the body decides, and has a Content-Encoding")
	errOtherName = errors.New("the body decides, and what it is has a second spelling")
)

// bodyToDecide is a request's body, where that can be read as what the upstream will
// read it as; unread says why it can't. The failure is one of the body itself: too
// large, too slow, cut. The request keeps it, byte for byte.
func (c *call) bodyToDecide() (body []byte, unread, failed error) {
	if c.contract != plain {
		return nil, errHeldBack, nil
	}
	if unread := readable(c.r); unread != nil {
		return nil, unread, nil
	}
	body, failed = c.readBody(c.gen.Settings.AuthzBodyBytes)
	if failed != nil {
		return nil, nil, failed
	}
	if len(body) == 0 {
		return nil, errNoBody, nil // announced by its transfer coding only
	}
	return body, nil, nil
}

// readable is why a request's body can't be read as JSON, by its headers alone: what
// is not going to be read is not asked for (Expect: 100-continue).
func readable(r *http.Request) error {
	if r.ContentLength == 0 {
		return errNoBody
	}
	for name := range r.Header {
		// Servers that hand headers on as environment variables take these for the same.
		if strings.Contains(name, "_") || strings.Contains(name, ".") {
			switch folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name)); folded {
			case "content-type", "content-encoding":
				return errOtherName
			}
		}
	}
	for _, coding := range r.Header["Content-Encoding"] {
		if !strings.EqualFold(coding, "identity") {
			return errEncoded
		}
	}
	types := r.Header["Content-Type"]
	if len(types) != 1 {
		return errNotJSON
	}
	kind, params, err := mime.ParseMediaType(types[0])
	if err != nil || kind != "application/json" && !(strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")) {
		return errNotJSON
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return errNotJSON
	}
	return nil
}

// readBody reads the whole body, of at most most bytes, and puts it back.
func (c *call) readBody(most int64) ([]byte, error) {
	r := c.r
	if r.ContentLength > most {
		return nil, problem.Newf(problem.TooLarge, "expected a body of at most %d bytes, found %d", most, r.ContentLength)
	}
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWithin))
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err == nil && int64(len(body)) <= most {
		// Nothing is to be read any more, and net/http listens for the client's going away.
		_ = control.SetReadDeadline(time.Time{})
		r.Body = io.NopCloser(bytes.NewReader(body))
		return body, nil
	}
	c.w.Header().Set("Connection", "close")
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case err == nil, tooLarge:
		return nil, problem.Newf(problem.TooLarge, "expected a body of at most %d bytes, found more", most)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problem.Newf(problem.BadRequest, "the body did not come within %v", bodyWithin)
	case r.Context().Err() != nil:
		return nil, upstream.ErrClientGone
	}
	return nil, problem.Newf(problem.BadRequest, "the body can't be read: %w", err)
}

package idp

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxBody bounds request bodies. The largest honest one is a token request
// with an assertion, about 2 kB.
const maxBody = 64 << 10

// call is one request on its way through an endpoint.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	p     *Provider
	seen  *Seen
	hooks *Hooks // taken once, so that one request meets one set of lies
	now   time.Time
	query url.Values
	form  url.Values
}

// statusWriter remembers the status for the record.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	defaultTo(&w.status, status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	defaultTo(&w.status, http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap serves http.NewResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// endpoint wraps a handler with what all have in common: the record, the Before
// hook, the method, a bounded body, headers.
func (p *Provider) endpoint(name string, methods []string, h func(*call)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w}
		query, queryErr := url.ParseQuery(r.URL.RawQuery)
		c := &call{
			w: sw, r: r, p: p, hooks: p.hooks.Load(), now: p.o.Now(), query: query,
			seen: &Seen{At: p.o.Now(), Endpoint: name, Method: r.Method, Query: p.seen.shown(query)},
		}
		c.seen.ClientID = cut(query.Get("client_id"))
		p.seen.arrived(c.seen)
		defer func() { p.seen.note(func() { c.seen.Status = sw.status }) }()

		if h := c.hooks.Before; h != nil && h(sw, r) {
			return
		}
		head := w.Header()
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer") // URLs here carry codes and state
		head.Set("Cache-Control", "no-store")
		if !slices.Contains(methods, r.Method) {
			head.Set("Allow", strings.Join(methods, ", "))
			c.fail(&oauthError{Status: http.StatusMethodNotAllowed, Code: "invalid_request",
				Description: "this endpoint takes " + strings.Join(methods, ", ")})
			return
		}
		if queryErr != nil {
			c.fail(invalidRequest("the query is not application/x-www-form-urlencoded"))
			return
		}
		r.Body = http.MaxBytesReader(sw, r.Body, maxBody)
		if err := c.readForm(); err != nil {
			c.fail(err)
			return
		}
		h(c)
	})
}

func (c *call) readForm() *oauthError {
	c.form = url.Values{}
	if c.r.Method != http.MethodPost {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" {
		if c.r.ContentLength == 0 {
			return nil // a POST to UserInfo has its token in the header
		}
		return &oauthError{Status: http.StatusUnsupportedMediaType, Code: "invalid_request",
			Description: "want Content-Type application/x-www-form-urlencoded"}
	}
	if err := c.r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &oauthError{Status: http.StatusRequestEntityTooLarge, Code: "invalid_request",
				Description: "the body is larger than 64 KiB"}
		}
		return invalidRequest("the body is not application/x-www-form-urlencoded")
	}
	c.form = c.r.PostForm
	shown := c.p.seen.shown(c.form)
	c.p.seen.note(func() {
		c.seen.Form = shown
		if id := c.form.Get("client_id"); id != "" {
			c.seen.ClientID = cut(id)
		}
	})
	return nil
}

func cut(s string) string { return s[:min(len(s), maxSeenValue)] }

// oauthError is an error of RFC 6749, 5.2 and its relatives.
type oauthError struct {
	Status      int    `json:"-"` // 0 means 400
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func (e *oauthError) Error() string { return e.Code + ": " + e.Description }

func invalidRequest(why string) *oauthError {
	return &oauthError{Code: "invalid_request", Description: why}
}

func invalidGrant(why string) *oauthError {
	return &oauthError{Code: "invalid_grant", Description: why}
}

func unavailable() *oauthError {
	return &oauthError{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
		Description: "too much is under way; try again in a moment"}
}

// answer turns a result into a response: v as JSON, or err as RFC 6749, 5.2.
func (c *call) answer(status int, v any, err *oauthError) *Answer {
	a := &Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}}
	if err != nil {
		c.p.seen.note(func() { c.seen.Error = err.Code })
		a.Status, v = max(err.Status, 400), err
		if a.Status == http.StatusUnauthorized && c.seen.Endpoint != EndpointUserinfo {
			// RFC 6749, 5.2 demands it for clients that used the header, RFC
			// 9110, 15.5.2 for all.
			a.Header.Set("WWW-Authenticate", `Basic realm="`+c.p.base+`"`)
		}
	}
	a.Body, _ = json.Marshal(v) // only our own types come here
	return a
}

// send writes an answer, after the hook for it.
func (c *call) send(a *Answer, hook func(*http.Request, *Answer)) {
	if hook != nil {
		hook(c.r, a)
	}
	if a.Delay > 0 {
		t := time.NewTimer(a.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.r.Context().Done():
			return
		}
	}
	for name, values := range a.Header {
		c.w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	c.w.WriteHeader(a.Status)
	_, _ = c.w.Write(a.Body) // the client may have left; nothing to do about it
}

func (c *call) fail(err *oauthError) { c.send(c.answer(0, nil, err), nil) }

// repeated names a parameter that is there twice (RFC 6749, 3.1 and 3.2).
// `resource` and `audience` may be (RFC 8707, 2).
func repeated(v url.Values) string {
	for name, values := range v {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return name
		}
	}
	return ""
}

func has(list []string, s string) bool { return slices.Contains(list, s) }

package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"keyway/internal/problem"
)

// Codes that only this API has.
const (
	codeUnknownSecret    problem.Code = "unknown_secret"
	codeUnknownRotation  problem.Code = "unknown_rotation"
	codeUnknownSession   problem.Code = "unknown_session"
	codeRefused          problem.Code = "refused"
	codeUnsupportedMedia problem.Code = "unsupported_media_type"
	codeUnavailable      problem.Code = "unavailable"
)

// Problem is a failure as the API tells it (RFC 9457). Other than on the public
// side Detail has the cause: whoever reads it is the operator.
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Code   problem.Code `json:"code"`
	Detail string       `json:"detail,omitempty"` // what was expected, and what was found
	Cure   string       `json:"cure,omitempty"`   // what would help
	Secret string       `json:"secret,omitempty"` // that it is about
	Known  []string     `json:"known,omitempty"`  // the names that there are, of unknown_secret
}

func (p *Problem) Error() string { return p.Detail }

// fail makes a Problem. The title is the status in words (RFC 9457 section
// 4.2.1, "about:blank").
func fail(status int, code problem.Code, format string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func (p *Problem) cured(format string, args ...any) *Problem {
	p.Cure = fmt.Sprintf(format, args...)
	return p
}

// problemOf turns an error of a [Control], or of ours, into what is told.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*UnknownSecretError](err); ok {
		p := fail(http.StatusNotFound, codeUnknownSecret, "there is no secret %q", e.Name)
		p.Secret, p.Known = e.Name, e.Known
		if near := e.Nearest(); near != "" {
			p.Cure = "Did you mean " + near + "?"
		}
		return p
	}
	if e, ok := errors.AsType[*RefusedError](err); ok {
		p := fail(http.StatusConflict, codeRefused, "%s", e.Why)
		p.Secret, p.Cure = e.Secret, e.Cure
		return p
	}
	if e, ok := errors.AsType[*ForbiddenError](err); ok {
		return fail(http.StatusForbidden, problem.Forbidden, "%s", e.Why).cured("%s", e.Cure)
	}
	if e, ok := errors.AsType[*SignInError](err); ok {
		code := problem.CodeOf(e.Cause)
		if code == problem.Internal { // nothing of ours has a code then
			code = problem.LoginFailed
		}
		return fail(code.Status(), code, "%v", e).cured("Sign in again.")
	}
	if busy, ok := errors.AsType[busyError](err); ok {
		return fail(http.StatusServiceUnavailable, codeUnavailable, "%s", string(busy)).cured("Try again in a moment.")
	}
	_, nothingDone := errors.AsType[*unchanged](err)
	if cause := awayCause(err); cause != nil {
		p := fail(http.StatusServiceUnavailable, codeUnavailable, "the gateway runs, but its store at REDIS_URL is away: %v", cause)
		if nothingDone {
			return p.cured("Nothing was changed. See that Redis is up and that the gateway reaches it; 'keyway verify' says what else is affected.")
		}
		return p.cured("What was asked for may have been done in part: once Redis is back, see 'keyway status', or of sessions 'keyway sessions list', and ask again for what is missing.")
	}
	p := fail(http.StatusServiceUnavailable, codeUnavailable, "%v", err)
	if nothingDone {
		return p.cured("Nothing was changed. Try again, and see the gateway's log if it stays so.")
	}
	return p.cured("Try again; what was asked for may have been done in part, and 'keyway status' says so.")
}

// unchanged is the error of what only looks.
type unchanged struct{ err error }

func (e *unchanged) Error() string { return e.err.Error() }
func (e *unchanged) Unwrap() error { return e.err }

// away is an error of a shared store that does not answer. StoreAway is why, without
// what was done meanwhile.
type away interface {
	error
	StoreAway() error
}

// awayCause is nil unless the store is away.
func awayCause(err error) error {
	if e, ok := errors.AsType[away](err); ok {
		return e.StoreAway()
	}
	return nil
}

func (h *Handler) refuse(w http.ResponseWriter, err error) {
	p := problemOf(err)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	h.write(w, p.Status, "application/problem+json", p)
}

// write answers with a document. Nothing of this API may be kept by anybody.
func (h *Handler) write(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil { // no type of ours can fail
		h.log.Error("admin: an answer can't be written", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal_error"}`)
		contentType = "application/problem+json"
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

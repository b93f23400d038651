package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Code is a stable name of a kind of failure, part of the public contract.
type Code string

// The kinds of failure, with what the caller should make of each.
const (
	BadRequest         Code = "bad_request"          // 400: malformed
	AmbiguousPath      Code = "ambiguous_path"       // 400: a path that two servers could read differently
	AmbiguousQuery     Code = "ambiguous_query"      // 400: a query that two servers could read differently
	UnsupportedUpgrade Code = "unsupported_upgrade"  // 400
	LoginFailed        Code = "login_failed"         // 400: start again from /auth/login
	LoginDenied        Code = "login_denied"         // 403: the user or the IdP said no
	Unauthenticated    Code = "unauthenticated"      // 401: sign in
	SessionEnded       Code = "session_ended"        // 401: there was a session; sign in again
	InvalidToken       Code = "invalid_token"        // 401: bearer token refused
	InsufficientScope  Code = "insufficient_scope"   // 403: the access token is not good for this
	InvalidLogoutToken Code = "invalid_logout_token" // 400: of back-channel logout
	Forbidden          Code = "forbidden"            // 403: signed in, not allowed
	CSRFFailed         Code = "csrf_failed"          // 403: fetch a new token from /auth/csrf
	CrossOrigin        Code = "cross_origin"         // 403: the request came from another site
	NotFound           Code = "not_found"            // 404
	MethodNotAllowed   Code = "method_not_allowed"   // 405
	TooLarge           Code = "too_large"            // 413, 431
	TooManyRequests    Code = "too_many_requests"    // 429
	Internal           Code = "internal_error"       // 500
	UpstreamFailed     Code = "upstream_failed"      // 502
	UpstreamAuthFailed Code = "upstream_auth_failed" // 502: no token could be had for the upstream
	IdPFailed          Code = "idp_failed"           // 502: the IdP answered nonsense
	StoreUnavailable   Code = "sessions_unavailable" // 503: the session is kept, try again
	IdPUnavailable     Code = "idp_unavailable"      // 503: the session is kept, try again
	KeysUnavailable    Code = "keys_unavailable"     // 503: this replica can't know yet, try again
	Overloaded         Code = "overloaded"           // 503
	UpstreamTimeout    Code = "upstream_timeout"     // 504
	Starting           Code = "starting"             // 503: try again
	ShuttingDown       Code = "shutting_down"        // 503
)

type kind struct {
	status     int
	title      string
	retryAfter time.Duration
}

var kinds = map[Code]kind{
	BadRequest:         {400, "The request is malformed.", 0},
	AmbiguousPath:      {400, "The path could be read in more than one way.", 0},
	AmbiguousQuery:     {400, "The query could be read in more than one way.", 0},
	UnsupportedUpgrade: {400, "This kind of connection upgrade is not offered here.", 0},
	LoginFailed:        {400, "This sign-in can't be finished. Please start again.", 0},
	LoginDenied:        {403, "The sign-in was refused.", 0},
	Unauthenticated:    {401, "Sign in first.", 0},
	SessionEnded:       {401, "The session has ended. Sign in again.", 0},
	InvalidToken:       {401, "The access token was refused.", 0},
	InsufficientScope:  {403, "The access token is not good for this.", 0},
	InvalidLogoutToken: {400, "The logout token was refused.", 0},
	Forbidden:          {403, "You are signed in, but not allowed to do this.", 0},
	CSRFFailed:         {403, "The CSRF token is missing or not valid. Fetch a new one from /auth/csrf.", 0},
	CrossOrigin:        {403, "The request came from another site.", 0},
	NotFound:           {404, "There is nothing here.", 0},
	MethodNotAllowed:   {405, "This method is not offered here.", 0},
	TooLarge:           {413, "The request is too large.", 0},
	TooManyRequests:    {429, "Too many requests.", 10 * time.Second},
	Internal:           {500, "Something went wrong on our side.", 0},
	UpstreamFailed:     {502, "The service behind the gateway failed.", 0},
	UpstreamAuthFailed: {502, "No token could be had for the service behind the gateway.", 0},
	IdPFailed:          {502, "The identity provider's answer can't be used.", 0},
	StoreUnavailable:   {503, "Sessions can't be looked up right now. You are still signed in; try again.", 2 * time.Second},
	IdPUnavailable:     {503, "The identity provider can't be reached right now. Try again.", 5 * time.Second},
	KeysUnavailable:    {503, "This can't be decided right now. Try again.", 2 * time.Second},
	Overloaded:         {503, "Too busy right now. Try again.", 2 * time.Second},
	UpstreamTimeout:    {504, "The service behind the gateway took too long.", 0},
	Starting:           {503, "This replica is starting. Try again.", 2 * time.Second},
	ShuttingDown:       {503, "This replica is shutting down. Try again.", time.Second},
}

// Error is a failure of a known kind. Cause is for the log.
type Error struct {
	Code  Code
	Cause error
	// RetryAfter is when to try again, where that is known better than for the kind;
	// 0: it is not. It is told in whole seconds, rounded up.
	RetryAfter time.Duration
}

// New wraps cause, which may be nil, as a failure of the kind code.
func New(code Code, cause error) *Error { return &Error{Code: code, Cause: cause} }

// Newf is New with a cause made from a format; %w works.
func Newf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Cause: fmt.Errorf(format, args...)}
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// CodeOf finds the kind of err; what has none is Internal.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// Status is the HTTP status of the kind.
func (c Code) Status() int {
	if k, ok := kinds[c]; ok {
		return k.status
	}
	return http.StatusInternalServerError
}

// document is the body of RFC 9457 section 3. The type is "about:blank", so the
// title says what the status does; the code is what programs should read.
type document struct {
	Type          string `json:"type"`
	Title         string `json:"title"`
	Status        int    `json:"status"`
	Code          Code   `json:"code"`
	CorrelationID string `json:"correlation_id,omitempty"`
}

// Write sends the response for err: status, problem document, and the headers
// that go with them. It is never cached. Nothing of err but its kind is shown.
func Write(w http.ResponseWriter, correlationID string, err error) {
	WriteAs(w, correlationID, err, CodeOf(err).Status())
}

// WriteAs is Write with another status, of 400 or more, for who can take only some.
func WriteAs(w http.ResponseWriter, correlationID string, err error, status int) {
	h := w.Header()
	code := Headers(h, err, status)
	h.Set("Content-Type", "application/problem+json")
	body, _ := json.Marshal(document{Type: "about:blank", Title: kinds[code].title, Status: status, Code: code, CorrelationID: correlationID})
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Headers sets what every answer about err has, in whatever form it is written, and
// returns the code to show: one of those above.
func Headers(h http.Header, err error, status int) Code {
	code := CodeOf(err)
	k, ok := kinds[code]
	if !ok {
		code, k = Internal, kinds[Internal]
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	after := k.retryAfter
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
		after = e.RetryAfter
	}
	if after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
	if status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		// RFC 9110 section 11.6.1 wants a challenge on every 401. "Session" is no
		// registered scheme, so no browser opens a dialogue for it.
		h.Set("WWW-Authenticate", `Session realm="bff"`)
	}
	return code
}

// Title is what the kind is to a person, in a sentence or two.
func (c Code) Title() string { return kinds[c].title }

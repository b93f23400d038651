package oidc

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"keyway/internal/problem"
)

// The kinds of failure that somebody acts on. Each also carries a code of
// package problem, which says how it is answered.
var (
	// ErrUnavailable: no usable answer, and trying again may bring one: nothing
	// was decided. Always an *UnavailableError. No session ends because of it.
	ErrUnavailable = errors.New("oidc: the identity provider can't be reached")
	// ErrNoMetadata: whoever answers at the issuer's address has no metadata there: the
	// issuer may be wrong. It is the cause of an UnavailableError, and no reason to
	// refuse a start: a proxy in front of a provider may say so for a while.
	ErrNoMetadata = errors.New("it answers, but has no metadata")
	// ErrAnswer: there was an answer, and it breaks the protocol.
	ErrAnswer = errors.New("oidc: the identity provider's answer can't be used")
	// ErrIssuerMismatch: the metadata at the issuer's address names another
	// issuer (Discovery 1.0 section 4.3). A start is refused because of it.
	ErrIssuerMismatch = errors.New("oidc: the discovery document names another issuer")
	// ErrMetadata: the metadata names the right issuer but can't be used.
	ErrMetadata = errors.New("oidc: the discovery document can't be used")
	// ErrNotOffered: the provider has no such endpoint.
	ErrNotOffered = errors.New("oidc: the identity provider does not offer this")

	// ErrParameters: a callback's parameters can't be read in one way only.
	ErrParameters = errors.New("oidc: malformed or repeated parameters")
	// ErrState: missing, forged, another browser's, or one whose sign-in is over.
	ErrState = errors.New("oidc: the state does not belong to a sign-in of this browser")
	// ErrExpired: the sign-in was begun too long ago.
	ErrExpired = errors.New("oidc: the sign-in took too long")
	// ErrAlreadyUsed: this callback has been used before, or is being used right
	// now. Where the browser has a session, going on to Grant.ReturnTo is right.
	ErrAlreadyUsed = errors.New("oidc: the callback was used before")
	// ErrResponse: a signed response fails a check of JARM section 2.4.
	ErrResponse = errors.New("oidc: the signed authorization response is not acceptable")
	// ErrIssuer: the response is from another issuer (RFC 9207 section 2.4).
	ErrIssuer = errors.New("oidc: the response is from another issuer")
	// ErrDenied: the user or the provider said no.
	ErrDenied = errors.New("oidc: the sign-in was refused")
	// ErrRefused: the provider answered with an error that is not a denial.
	ErrRefused = errors.New("oidc: the identity provider refused the request")
	// ErrIDToken: the ID token fails a check of OpenID Connect Core 3.1.3.7.
	ErrIDToken = errors.New("oidc: the ID token is not acceptable")
	// ErrUserInfo: so does the UserInfo answer (section 5.3.2).
	ErrUserInfo = errors.New("oidc: the UserInfo response is not acceptable")

	// ErrGrantGone: the provider says that the grant is over (invalid_grant).
	// The one answer that ends a session.
	ErrGrantGone = errors.New("oidc: the grant is gone")
	// ErrTokensDiscarded: a refresh was answered with an ID token that is proved
	// not to be of this session (another sub, iss or aud, a signature that fails).
	// The new tokens were thrown away, and the old refresh token may be used up.
	// Always with ErrIDToken.
	ErrTokensDiscarded = errors.New("oidc: the refreshed tokens are not the session's")
	// ErrClientRefused: no live credential of ours is accepted. The operator's
	// problem, never the user's.
	ErrClientRefused = errors.New("oidc: the identity provider refuses our credentials")

	// ErrReturnTo and ErrHost: an address that a sign-in must not lead to.
	ErrReturnTo = errors.New("oidc: not an address to return to")
	ErrHost     = errors.New("oidc: not a host that may be called back")
	// ErrStore: it can't be known whether a callback was used. It still can be.
	ErrStore = errors.New("oidc: single use can't be checked")
)

// UnavailableError says who could not be asked.
type UnavailableError struct {
	Endpoint   string        // "token", "discovery", ...
	Status     int           // 0: no answer
	RetryAfter time.Duration // 0: not said; at most an hour
	Cause      error         // nil when there is a status
}

func (e *UnavailableError) Error() string {
	text := "oidc: " + e.Endpoint + " endpoint unavailable"
	if e.Status != 0 {
		text += fmt.Sprintf(": status %d", e.Status)
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Is lets errors.Is(err, ErrUnavailable) hold.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// StateVersionError says which version of the state key a callback names that is
// unknown here. It does not print it: anybody may have put it there.
type StateVersionError struct {
	Version string
	Err     error // keyring.ErrUnknownVersion
}

func (e *StateVersionError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *StateVersionError) Unwrap() error { return e.Err }

// OAuthError is an error response (RFC 6749 section 4.1.2.1 and 5.2).
type OAuthError struct {
	Endpoint    string
	Status      int    // 0: it came by the browser
	Code        string // at most 64 characters of those that the RFC allows
	Description string // cleaned and bounded; for the log, not for the user
}

func (e *OAuthError) Error() string {
	text := "oidc: " + e.Endpoint + " endpoint answered " + e.Code
	if e.Description != "" {
		text += fmt.Sprintf(" (%q)", e.Description)
	}
	return text
}

// Is sorts codes into the kinds above.
func (e *OAuthError) Is(target error) bool {
	switch e.Code {
	case "invalid_client", "unauthorized_client":
		return target == ErrClientRefused
	case "invalid_grant":
		return target == ErrGrantGone
	case "access_denied":
		return target == ErrDenied
	}
	return target == ErrRefused
}

// fail gives an error its code and its kind.
func fail(code problem.Code, kind error, format string, args ...any) error {
	return problem.New(code, fmt.Errorf("%w: %w", kind, fmt.Errorf(format, args...)))
}

// coded gives the errors of a call to the provider their codes. What a refusal
// means differs by endpoint, so the caller says.
func coded(err error, refused problem.Code) error {
	if _, done := errors.AsType[*problem.Error](err); done || err == nil {
		return err
	}
	switch {
	case errors.Is(err, ErrUnavailable):
		return problem.New(problem.IdPUnavailable, err)
	case errors.Is(err, ErrClientRefused):
		return problem.New(problem.IdPFailed, err)
	case errors.Is(err, ErrDenied), errors.Is(err, ErrRefused), errors.Is(err, ErrGrantGone):
		return problem.New(refused, err)
	default:
		return problem.New(problem.IdPFailed, err)
	}
}

// Bounds of what is kept of a peer's words.
const (
	maxErrorCode        = 64
	maxErrorDescription = 200
)

// maxQuoted is the longest piece of a value of ours that an error may show.
const maxQuoted = 12

// newOAuthError keeps of an error response what is safe to log: characters that
// RFC 6749 section 5.2 allows, a bounded number of them, and none of the values
// that we sent ourselves, should the provider quote them, in whatever pieces.
func newOAuthError(endpoint string, status int, code, description string, sent ...string) *OAuthError {
	for _, value := range sent {
		if len(value) >= 4 {
			code = strings.ReplaceAll(code, value, hiddenText)
			description = strings.ReplaceAll(description, value, hiddenText)
		}
	}
	code, description = clean(code, maxErrorCode), clean(description, maxErrorDescription)
	for _, value := range sent {
		for _, form := range []string{value, url.QueryEscape(value), clean(value, len(value))} {
			if quotes(code, form) {
				code = hiddenText
			}
			if quotes(description, form) {
				description = hiddenText
			}
		}
	}
	return &OAuthError{Endpoint: endpoint, Status: status, Code: code, Description: description}
}

const hiddenText = "[hidden]"

// quotes reports whether text shows a piece of value that is too long.
func quotes(text, value string) bool {
	for i := 0; i+maxQuoted <= len(text); i++ {
		if strings.Contains(value, text[i:i+maxQuoted]) {
			return true
		}
	}
	return false
}

func clean(text string, most int) string {
	var b strings.Builder
	for _, c := range text {
		if b.Len() >= most {
			break
		}
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			c = '?'
		}
		b.WriteRune(c)
	}
	return b.String()
}

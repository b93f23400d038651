package bearer

import (
	"errors"
	"fmt"
	"strings"

	"keyway/internal/problem"
)

// RefusedError is a token that does not let anybody in, or that is not there.
type RefusedError struct {
	// Code is that of RFC 6750 section 3.1: invalid_request, invalid_token or
	// insufficient_scope. Empty when no token was presented.
	Code  string
	Scope []string // that would be needed, with insufficient_scope
	// Why is for the log. It quotes nothing that was presented.
	Why error
}

func (e *RefusedError) Error() string { return "bearer: " + e.Why.Error() }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Why }

// Challenge is the value of WWW-Authenticate that goes with an error of
// [Authenticator.Authenticate], and "" when it has none: what can't be known is
// not for the caller to mend. It does not say why a token was refused.
func Challenge(err error) string {
	e, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return ""
	}
	challenge := `Bearer realm="bff"`
	if e.Code != "" {
		challenge += fmt.Sprintf(", error=%q", e.Code)
	}
	if len(e.Scope) > 0 {
		challenge += fmt.Sprintf(", scope=%q", strings.Join(e.Scope, " "))
	}
	return challenge
}

// InsufficientScope is the error for a token that is good, and not for this: 403
// (RFC 6750 section 3.1). Scopes are ours, by RFC 6749 section 3.3.
func InsufficientScope(needed ...string) error {
	return problem.New(problem.Forbidden, &RefusedError{Code: "insufficient_scope", Scope: needed, Why: errors.New("the token lacks a scope")})
}

func refuse(code problem.Code, oauth, format string, args ...any) error {
	return problem.New(code, &RefusedError{Code: oauth, Why: fmt.Errorf(format, args...)})
}

func refused(format string, args ...any) error {
	return refuse(problem.InvalidToken, "invalid_token", format, args...)
}

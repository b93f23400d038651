package bearer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"keyway/internal/problem"
)

// RefusedError is a token that does not let anybody in, or that is not there.
type RefusedError struct {
	// Code is that of RFC 6750 section 3.1: invalid_request, invalid_token or
	// insufficient_scope. Empty when no token was presented.
	Code string
	// Scopes are what the route needs, with insufficient_scope.
	Scopes []string
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
	// A scope-token has nothing in it that would end the quoted string.
	if len(e.Scopes) > 0 && !slices.ContainsFunc(e.Scopes, func(s string) bool { return !isScope(s) }) {
		challenge += `, scope="` + strings.Join(e.Scopes, " ") + `"`
	}
	return challenge
}

func refuse(code problem.Code, oauth, format string, args ...any) error {
	return problem.New(code, &RefusedError{Code: oauth, Why: fmt.Errorf(format, args...)})
}

func insufficient(scopes []string, why error) error {
	return problem.New(problem.InsufficientScope, &RefusedError{Code: "insufficient_scope", Scopes: scopes, Why: why})
}

func refused(format string, args ...any) error {
	return refuse(problem.InvalidToken, "invalid_token", format, args...)
}

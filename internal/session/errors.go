package session

import (
	"errors"
	"fmt"

	"keyway/internal/keyring"
	"keyway/internal/problem"
)

// What a Manager says. Each is of the kind (package problem) that the edge
// should answer with; compare with errors.Is, since they come wrapped.
//
// An error that wraps keyring.ErrUnknownVersion is one more: the cookie or the
// record names a version of a secret that this replica has not loaded yet. For a
// record, which somebody must have sealed, that is a reason to try again; a
// cookie may also be made up.
var (
	// ErrNone: the request has no session cookie, or nothing that is one. Anonymous.
	ErrNone error = problem.New(problem.Unauthenticated, errors.New("session: no valid cookie"))
	// ErrEnded: the cookie is well-formed, but its session is over.
	ErrEnded error = problem.New(problem.SessionEnded, errors.New("session: ended"))
	// ErrBinding: the session is bound to another address or browser; it is
	// kept. See BindingError.
	ErrBinding error = problem.New(problem.Unauthenticated, errors.New("session: bound elsewhere"))
	// ErrUnavailable: the store can't say. The session may well be there.
	ErrUnavailable error = problem.New(problem.StoreUnavailable, errors.New("session: store unavailable"))
	// ErrIdPUnavailable: the access token is over, and the IdP can't be had to
	// renew it. The session is kept.
	ErrIdPUnavailable error = problem.New(problem.IdPUnavailable, errors.New("session: access token expired, and no refresh"))
)

// ErrGrantGone is for a RefreshFunc to return, wrapped or not, when the IdP says
// that this session's grant is over (invalid_grant): the one answer that ends
// the session.
var ErrGrantGone = errors.New("session: the grant is gone")

// BindingError is an ErrBinding that says what did not fit.
type BindingError struct{ Reason string } // "address" or "user_agent"

func (e *BindingError) Error() string { return "session: bound to another " + e.Reason }

// Unwrap makes it an ErrBinding.
func (e *BindingError) Unwrap() error { return ErrBinding }

// fromStore turns what a store says into what a Manager says.
func fromStore(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound):
		return ErrEnded
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// fromKeys does the same for what a ring says about a version that something
// names. What a retired version protects is over.
func fromKeys(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrUnknownVersion):
		return problem.New(problem.KeysUnavailable, fmt.Errorf("session: %s: %w", what, err))
	default: // retired, or not ours at all
		return fmt.Errorf("%w: %s: %w", ErrEnded, what, err)
	}
}

// fromCookieKey is fromKeys for the version that a cookie names, which anybody can
// make up. Where nobody has such a version (IsUnknownVersion is how to find that
// out first), the cookie is as good as none.
func fromCookieKey(err error) error {
	if errors.Is(err, keyring.ErrUnknownVersion) {
		return problem.New(problem.Unauthenticated, fmt.Errorf("session: cookie: %w", err))
	}
	return fromKeys("cookie", err)
}

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

// The secrets that something in this package may name a version of.
const (
	SecretSalt   = "token-hash-salt"
	SecretRecord = "session-key"
	SecretUA     = "ua-hash-salt"
	SecretCSRF   = "csrf-key"
)

// VersionError says which version of which secret something names that was not
// accepted: one that is unknown or retired, or a live one under which it is not
// good. It is wrapped in what the Manager says, and does not print the version,
// which anybody may have put there.
type VersionError struct {
	Secret  string // SecretSalt, ...
	Version string
	// Who is to count by, and not to be printed: the user, however many sessions he
	// has, or for SecretRecord the record's key; empty: not known.
	Who string
	Err error
}

func (e *VersionError) Error() string { return "session: " + e.Secret + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *VersionError) Unwrap() error { return e.Err }

// fromKeys turns what a ring says about a version that something names into what a
// Manager says. What a retired version protects is over.
func fromKeys(e VersionError) error {
	if errors.Is(e.Err, keyring.ErrUnknownVersion) {
		return problem.New(problem.KeysUnavailable, &e)
	}
	return fmt.Errorf("%w: %w", ErrEnded, &e) // retired, or not ours at all
}

// fromCookieKey is fromKeys for the version that a cookie names, which anybody can
// make up. Where nobody has such a version (IsUnknownVersion is how to find that
// out first), the cookie is as good as none.
func fromCookieKey(version string, err error) error {
	e := VersionError{Secret: SecretSalt, Version: version, Err: err}
	if errors.Is(err, keyring.ErrUnknownVersion) {
		return problem.New(problem.Unauthenticated, &e)
	}
	return fromKeys(e)
}

package session

import (
	"errors"
	"slices"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/seal"
)

// PurposeCSRF is the purpose to derive CSRF's tokens with.
const PurposeCSRF = "csrf token"

// CSRF mints and checks tokens that are good for one session. They are bound to
// its public id, which is new for each sign-in.
type CSRF struct {
	tokens  *seal.Tokens
	pending []string
}

// NewCSRF is for tokens derived from the csrf-key with PurposeCSRF. pending names
// the version that comes after the active one, if there is one: what other replicas
// mint with already.
func NewCSRF(tokens *seal.Tokens, pending ...string) CSRF { return CSRF{tokens, pending} }

// Mint makes a token for s.
func (c CSRF) Mint(s *Session, now time.Time) string { return c.tokens.Mint(s.rec.PublicID, now) }

// Check accepts a token that was minted for s. Errors, in a *VersionError if the
// token names a version: seal.ErrForged, keyring.ErrUnknownVersion,
// keyring.ErrRetired.
func (c CSRF) Check(s *Session, token string, now time.Time) error {
	err := c.tokens.Check(token, s.rec.PublicID, now)
	if err == nil {
		return nil
	}
	if v, ok := c.tokens.Version(token); ok {
		return &VersionError{Secret: SecretCSRF, Version: v, Who: s.user(), Err: err}
	}
	return err
}

// Superseded reports whether token is of a version before the active one, so that a
// page that has it can be given another before that version is retired. One that is
// unknown here is not: a replica that is behind must not take from a page what the
// others have just given it. It does not check the token, and allocates nothing for
// one that is current.
func (c CSRF) Superseded(token string) bool {
	v, ok := c.tokens.Version(token)
	if !ok || v == c.tokens.ActiveVersion() || slices.Contains(c.pending, v) {
		return false
	}
	return !errors.Is(c.tokens.Check(token, "", time.Time{}), keyring.ErrUnknownVersion)
}

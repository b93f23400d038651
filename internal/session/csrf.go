package session

import (
	"time"

	"keyway/internal/seal"
)

// PurposeCSRF is the purpose to derive CSRF's tokens with.
const PurposeCSRF = "csrf token"

// CSRF mints and checks tokens that are good for one session. They are bound to
// its public id, which is new for each sign-in.
type CSRF struct{ tokens *seal.Tokens }

// NewCSRF is for tokens derived from the csrf-key with PurposeCSRF.
func NewCSRF(tokens *seal.Tokens) CSRF { return CSRF{tokens} }

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
		return &VersionError{Secret: SecretCSRF, Version: v, Who: s.rec.PublicID, Err: err}
	}
	return err
}

// Current reports whether token was minted by the active version, so that a page
// that has an older one can be given another before that is retired. It does not
// check the token.
func (c CSRF) Current(token string) bool {
	v, ok := c.tokens.Version(token)
	return ok && v == c.tokens.ActiveVersion()
}

package keystore

import "keyway/internal/jwks"

// Adopted is the key that Options.Adopt hands in, or the zero Key.
func (s *Store) Adopted() (jwks.Key, error) { return readAdopted(s.options) }

// Package seal turns a ring of secrets into artefacts that name the version
// that made them.
//
// Three kinds rest on it. A [Sealer] encrypts and authenticates (session
// records at rest, login transactions in a cookie). A [Hasher] makes keyed
// hashes (session ids, binding data). [Tokens] mints and checks tokens that are
// bound to something (CSRF tokens).
//
// Each derives a key of its own from every live version by HKDF (RFC 5869),
// separated by purpose, so that a thing made for one purpose is never accepted
// for another even when an operator hands the same secret to both. Each is
// immutable, built once per generation, and safe for concurrent use; sealing
// and hashing on the way of a request derive nothing and take no lock.
//
// Opening looks the named version up. What names an unknown version fails with
// keyring.ErrUnknownVersion, what names a retired one with keyring.ErrRetired,
// and everything else that is wrong with ErrForged, which says no more.
package seal

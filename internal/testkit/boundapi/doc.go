// Package boundapi is an API that takes access tokens only from who holds the key that
// they are bound to (RFC 9449 section 7), and takes nothing on trust: it reads proofs by
// the RFC, with none of our own code, and refuses whatever a strict server may.
package boundapi

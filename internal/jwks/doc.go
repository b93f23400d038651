// Package jwks holds both ends of public keys: ours, published for others, and
// those of others, kept for us.
//
// A [Key] is a private signing key that knows its name (the RFC 7638
// thumbprint) and what it can sign. A [Signer] signs with one, choosing the
// algorithm that the peer accepts. A [Publisher] serves the public side of a
// ring, and can't serve anything else: it is built from public keys only.
//
// A [Remote] keeps the keys of an IdP: fetched within bounds, fresh within
// bounds, refetched once for all who meet an unknown key id, and never more
// often than its cool-down allows, whatever is thrown at it. [Remote.Verify]
// checks a compact JWS against them and refuses everything that is not plainly
// a signature by one of these keys (RFC 8725).
//
// JOSE itself is go-jose; the rules about which key, which algorithm and which
// header are here.
package jwks

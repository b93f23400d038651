// Package dpop proves that we hold the key that a token is bound to (RFC 9449).
//
// What it promises:
//
//   - A proof is for one request: its method, its address without query and
//     fragment, its time, an id of its own, the nonce that this server asked for,
//     and at a resource the hash of the one token that it is sent with. No two are
//     alike, also when a request is sent again.
//   - The header of a proof holds the public key, and nothing else of it. The
//     private key leaves the ring in no other form than signatures.
//   - A token is proved with the version of the key that it was bound to, for as long
//     as the ring has that version: to turn the key breaks no token ([Keys.Prove]).
//     New tokens are bound to the active version ([Keys.Active]).
//   - Nonces are kept by server (scheme, host and port), and none is ever sent to
//     another one. The memory of them is bounded, whoever hands out nonces
//     ([Nonces]).
//
// A proof by ES256 takes about 50 microseconds of a processor, by EdDSA about 30, by
// PS256 about 3 milliseconds (BenchmarkProve); one is made for each request that is sent
// with a bound token.
// Without a key ring there is no [Keys], and nothing is done.
//
// Proofs that others send to us are no concern of this package: as a resource server
// Keyway takes Bearer tokens only, and refuses those that are bound to a key.
package dpop

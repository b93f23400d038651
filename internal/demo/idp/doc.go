// Package idp is a small OpenID Provider: the one that people sign in at in
// `keyway demo`, and the base of the dishonest one that tests need.
//
// What it promises: to a relying party that keeps the rules it is a real
// provider. It publishes metadata (OpenID Connect Discovery 1.0, RFC 8414) and
// keys, takes pushed authorization requests (RFC 9126), speaks the code flow
// with PKCE S256 and nothing weaker (RFC 7636, RFC 9700), names itself in every
// authorization response (RFC 9207), authenticates its clients by
// private_key_jwt (RFC 7523) or a secret, rotates refresh tokens and ends the
// family when an old one comes back, answers introspection (RFC 7662),
// revocation (RFC 7009), UserInfo and RP-initiated logout, and tells its clients
// who has signed out (OpenID Connect Back-Channel Logout 1.0).
//
// It is strict where leniency would hide a fault of the relying party:
// redirect URIs are compared as strings, a repeated parameter is an error, a
// code, a request_uri and an assertion's jti work once.
//
// What it does not promise: to be an identity provider for anybody. Passwords
// are plain strings that the sign-in page shows, all state is in memory and
// bounded, and every client that authenticates may introspect every access
// token. Run it on loopback.
//
// # Lies
//
// [Hooks] let a test turn it dishonest, one message at a time: change a claim
// and have it signed, repeat a response parameter, answer a token request with
// ten megabytes, or not at all. Hooks change what is said, never what is
// stored. [Provider.SetHooks] swaps them while the provider serves.
//
// # What was seen
//
// [Provider.Seen] returns what arrived, [Provider.Stats] how often, so that a
// test can assert that a token call did not happen, or that the front channel
// carried client_id and request_uri and nothing else. Secret values are kept
// only as fingerprints, which are good for telling two of them apart.
package idp

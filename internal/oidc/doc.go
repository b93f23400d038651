// Package oidc is the relying party: everything that is said to an OpenID
// Provider, and every check of what comes back.
//
// A [Provider] is the long-lived part: metadata and keys of one issuer, within
// bounds. A [Client] authenticates at its endpoints with whichever live
// credential is accepted. A [RelyingParty] signs users in and refreshes and
// ends their grants; it is built anew with each generation of keys.
//
// What it promises: a sign-in under way costs us nothing to keep. It lives in
// the browser, sealed: the state parameter names the transaction, a cookie
// holds it, and a callback needs both. So a flood of sign-ins fills no store,
// parallel tabs don't meet, and a callback in another browser finds nothing.
// No token call is made before state, browser, expiry, issuer (RFC 9207) and
// single use have been checked; no token of a sign-in is used before every rule
// of OpenID Connect Core section 3.1.3.7 has been.
//
// What a provider that hangs can cost is bounded as well. Anybody can begin a
// sign-in, so at most 64 of them wait for the provider at once; once it has been
// silent five times in a row nobody does, but for a probe every second or two.
// Refreshing is not held up by that, and does not lose tokens because keys can't
// be had.
//
// Errors are of kinds that callers act on ([ErrUnavailable] keeps a session,
// [ErrGrantGone] ends it) and carry a code of package problem. They never hold
// a token, a code or a secret: of what a provider answers only the error code
// and a bounded, cleaned description go on, less what we sent, and of a
// connection's failure its kind ([jwks.TransportError]).
//
// Nothing here stores anything. What needs remembering once, that a
// transaction was used, goes through [OneTime].
//
// What is demanded of a provider is never left out because it does not offer it: tokens
// that are bound to a key (RFC 9449, by package dpop), signed requests (RFC 9101) and
// signed responses (JARM). Then there is no sign-in, see [RelyingParty.Check].
package oidc

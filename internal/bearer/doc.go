// Package bearer says who presents an access token (RFC 6750), for machines and
// other clients that have no session here.
//
// A token is checked at the one provider that it is of: a JWT access token (RFC
// 9068) by that provider's keys, chosen by issuer and audience; any other by
// asking (introspection, RFC 7662, also by a signed answer, RFC 9701). An opaque
// token does not say whose it is, and is introspected at each provider that the
// route accepts and that allows it, until one knows it.
//
// What it promises:
//
//   - Only what a provider says of a token in plain words lets anybody in: active
//     is the boolean true, the audience is ours, nothing has expired. An ID token,
//     a logout token, a refresh token, and one that is bound to a key (cnf), are
//     no bearer tokens.
//   - That a provider can't be asked is never the caller's fault: 503, or 502 if
//     it answers nonsense, and not 401. It is not remembered, either.
//   - What a route needs of a token beyond that (audience, scopes, whose it is: a
//     [Need]) is looked at for each request anew, whatever the last route was told.
//     No provider is shown a token for a route that does not accept its tokens.
//   - A token is looked for in one place, a single Authorization header. The
//     query, the body and cookies are not looked at.
//   - An answer is used again until the token expires, and for a minute at most:
//     that is how long a revocation can take to be noticed. Audience and dates are
//     checked anew each time. The token is not kept: answers are found by a salted
//     hash that names the salt's version, and the provider that gave it.
//   - Strangers can send what they like: one token is asked about once however many
//     wait, so many tokens at a time and no more, and what they are worth (nothing)
//     is remembered apart from the answers for tokens that are good.
package bearer

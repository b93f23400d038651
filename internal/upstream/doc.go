// Package upstream is the trust boundary between the gateway and the services
// behind it.
//
// What it promises for every request it forwards, whatever the route, the
// method, or whether anybody is signed in:
//
//   - An upstream sees identity, correlation and forwarding headers only with
//     the values that the gateway decided, or not at all. A client's headers of
//     those names are removed in every spelling that some server might read as
//     one of them (see [reserved]), before ours are added, so that no Connection
//     header can remove them again. So are the identity headers of other products
//     (Remote-User, X-Amzn-Oidc-*, Cf-Access-*, …): a service may still believe the
//     gateway that it stood behind before.
//   - The session's cookies never reach an upstream, and no upstream can set or
//     clear them, in any spelling that some server folds into theirs.
//   - The path and query that were decided upon go out byte for byte.
//   - Authorization is what the route's token policy says. A client's own never
//     passes, not even on public routes; a policy that can't get its token fails
//     the request instead of sending it without (502 upstream_auth_failed).
//   - A token that is bound to a key (RFC 9449) goes out with the scheme DPoP and with a
//     proof for this request, or not at all. That an upstream wants a nonce is no
//     client's business: it is sent once more, and if that can't be, the request fails.
//   - Only the configured services are ever connected to, whatever Host, absolute
//     request target or redirect says.
//   - The only protocol upgrade is a well-formed WebSocket handshake on a route
//     that streams, to an upstream that proves that it understood (RFC 6455 section
//     4.1). A WebSocket's connection is never used for anything else, and it ends
//     when the request's context does. A client that asks for another upgrade is
//     answered without, and its connection closed.
//   - Time and memory are bounded: bodies are copied through one pooled buffer, a
//     reader that stops reading is dropped, and a failed upstream costs no
//     goroutine and no connection once the request is over.
//   - No error holds text of a peer's: net/http quotes what an upstream sent, and
//     an upstream may send back the token it got. What failed is said in fixed words
//     and with the configured host.
//
// # Decisions
//
// Injected values are printable ASCII: everything else, and "%" itself, is
// percent-encoded as UTF-8 bytes, so that decoding is exact and no value can end
// a header. RFC 8187 is for parameters, which these are not. X-Auth-Time is in
// seconds since the epoch, as the auth_time claim is. An e-mail address that is
// not plainly local@domain is left out, because "a@ok@evil" is read differently
// by different programs. Values over 1 KiB are left out, never cut: a cut
// identity could be another's.
//
// X-Forwarded-For, -Host and -Proto carry what the caller determined, never the
// client's chain. Forwarded (RFC 7239) is removed and not added: two sources of
// one truth can disagree. X-HTTP-Method-Override and its like are removed too:
// the method that was authorised is the one that counts. The CSRF token stays
// here as well, it is of no use to an upstream and of some to an attacker.
//
// This is not built on httputil.ReverseProxy, though it was. That copies a client's
// header and takes from the copy what must not pass, where this puts together what may;
// it relays informational responses, past the rules below; and its tunnel for upgrades
// forwards hop-by-hop headers, loses what a client sent early, leaks connections on its
// error paths (Go issue 80875), and is held up for ever by a client that does not read.
// What was left of it, to copy a header and a body, cost more than the checks do. What
// an upstream answers is passed on as it does it, and tests hold the two side by side.
//
// Informational responses (RFC 9110 section 15.2) are not relayed, 103 among
// them: they would get past the rules for response headers. Of an upstream's
// response headers these are dropped, in any spelling:
//
//   - Alt-Svc (would lead the browser around the gateway), Clear-Site-Data (would
//     sign the user out here), Access-Control-* (the gateway answers CORS) and
//     X-Correlation-ID;
//   - Set-Cookie of our cookies, and every Set-Cookie2;
//   - orders to a server in front, to send a file of its own or to cache: X-Accel-*,
//     X-Sendfile, X-LIGHTTPD-*, X-Reproxy-*;
//   - the families of our identity headers, which an upstream that echoes its request
//     would show to the client: X-User-*, X-Session-*, X-Original-*, X-Auth-*;
//   - when the gateway said no-store, or the response sets a cookie, which is why it
//     then says no-store as well: what would overrule that at some cache, namely
//     *-Cache-Control (RFC 9213), Surrogate-*, Edge-Control, Expires, Pragma and Age.
//
// Of a trailer all of these are dropped, and what only a header may say (RFC 9110 section
// 6.5.1): framing, cookies, how to read and to cache the response.
//
// A header that the gateway already set wins over the upstream's, but for Set-Cookie
// and Vary, which add up. Server, Strict-Transport-Security and WWW-Authenticate pass.
// A missing Content-Type is not made up by sniffing.
//
// An upstream may answer before it has the whole request. Then the answer does not wait
// for the rest, what of the rest the upstream still takes goes to it meanwhile, and the
// client's connection ends after the answer: nothing of that request is read as another.
//
// A 401 from an upstream passes through as it is, if the token was the user's.
// One that refuses a service token is answered with 502 upstream_auth_failed,
// because signing in would not help, and the token is dropped from the cache, so
// that a token revoked early costs one failed request.
package upstream

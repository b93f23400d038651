// Package admin is the API by which an operator, or a program of theirs, sees
// and turns secrets while the gateway serves, and finds and ends sessions of users.
//
// A [Handler] answers under /admin/v1/, on the admin listener only. It decides
// who may ask and what is a well-formed question, and leaves the answer to a
// [Control].
//
// What it promises: nobody who merely can make an operator's browser send a
// request, or who reaches the listener without being meant to, turns a secret or
// learns which there are. With a token, only who shows it is served (RFC 6750, in
// the Authorization header and nowhere else). Without one, only programs on this
// machine are, and no page that a browser shows: the peer's address, the name
// that it asked for (a DNS name that was rebound to loopback is not ours) and
// what the browser says of the page's origin must all agree. A body must say
// that it is JSON, which no form can, and mean one thing to every reader.
// [Handler.Guard] keeps such pages from what else is on the listener.
//
// No answer holds a value of a secret, nor a user's token or cookie: the types have
// no place for one.
//
// [Handler.Console] is the same for people: a page that asks this API. Where a
// token, or a role at a provider, is needed, whoever shows one gets a cookie that
// stands for a session in memory, and a request by it counts only when it comes from
// the console's own page. The token never stays in a browser.
//
// What happens is told while it happens, to however many look, by one look a second.
//
// openapi.json describes all of it; the tests hold every answer against it.
package admin

// Package gateway is the public side: the ordered chain that every request
// passes through, and what the other rooms serve, mounted.
//
// A request comes in at [Gateway.ServeHTTP]. It takes one [Generation], once,
// and from then on goes one way: who sent it ([TrustedProxies.Client]), what it
// asks for (our own endpoints, or a route), who is asking (session), is it
// theirs to ask (origin and CSRF token), may they (the decision point, where the
// route wants that), and on to the upstream. What fails on the way comes back as
// an error, and leaves through package problem at one edge, where its one log
// line is written too.
//
// A proxy in front that holds a request back and asks about it (/auth/verify,
// /auth/forward) is answered by the same function that says who may for what is
// forwarded, so that there is one set of rules. Only a trusted peer is believed which
// request it asks about.
//
// What anybody can have done without being known (a sign-in begun, a callback, a
// token that is refused) is counted by package limit; what a route allows each
// caller, once it is known who that is.
//
// One failure is looked at again: something names a version of a secret that the
// generation lacks. As long as nothing is answered and nothing of the body is
// read, Options.Reread is asked, and the request served once more from the start
// with the generation that is current then. Only what a full reading does not
// bring is refused.
package gateway

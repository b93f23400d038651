// Package api is the demo's upstream: the service that the gateway protects,
// as somebody else might have written it. It knows nothing of sessions, cookies
// or CSRF. Every request must carry a bearer token (RFC 6750), which the API
// checks for itself, as it would in production: it does not believe identity
// headers, and nothing is served because the gateway is thought to have looked.
//
// It holds everything in memory, bounded in number and size, and never shows a
// credential: [New]'s echo route answers what the upstream saw, with the values
// of Authorization and Cookie left out, so that a page that calls it can't be
// made to hand a token to script.
package api

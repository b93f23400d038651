// Package app builds a running gateway from a configuration, and owns the
// lifetimes of its parts. It is the only room that knows all others, and it
// decides nothing: what a configuration means is said in config, what a request
// may do in gateway.
//
// There are two kinds of parts. [resources] are opened once and live as long as
// the process: connections, caches, what is known of the IdP. A
// gateway.Generation is built from a configuration and the rings, without
// touching the network, and published as one pointer.
package app

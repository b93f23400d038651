// Package app builds a running gateway from a configuration, and owns the
// lifetimes of its parts. It is the only room that knows all others, and it
// decides nothing: what a configuration means is said in config, what a request
// may do in gateway.
//
// There are two kinds of parts. [resources] are opened once and live as long as
// the process: connections, caches, what is known of the IdP. A
// gateway.Generation is built from a configuration and the rings, without
// touching the network, and published as one pointer.
//
// Replicas that share a Redis agree in it on the rings of all secrets, made here or
// handed in, and follow them as they are moved on: each look brings a replica to
// what the fleet says ([follower]), and a rotation.Runner moves the rings of
// whichever replica leads. A Redis that lost its data is given the rings again by
// whoever runs; if another replica was faster with rings
// of its own, both stay good: the store's is issued with, ours retires. What can't
// be healed so, rings under a TOKEN_HASH_SALT that this replica was not given, is
// logged as an error, and the replica goes on with what it has.
package app

// Package keyring is an immutable set of versions of one secret.
//
// A [Ring] answers the two questions that the rest of the gateway may ask: what
// to issue with (the active version, exactly one), and what a thing that was
// issued earlier was issued with (a look-up by the id that the thing carries;
// never a guess). Rooms read a ring once, when they are built for a generation,
// and derive what they need from it, so that a request never asks where a key
// came from.
//
// Nothing in here reads a file, a clock or the network.
package keyring

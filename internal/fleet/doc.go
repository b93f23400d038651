// Package fleet is what the replicas that share a store agree on.
//
// For now that is the rings that Keyway made itself. Each must be the same on
// every replica from the first request on, so the first replica to come puts it
// on the [Board], sealed, and every other one takes what it finds there. Two
// that come at once end with one ring: the board keeps what was first.
package fleet

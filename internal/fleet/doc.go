// Package fleet is what the replicas that share a store, or a volume, agree on.
//
// Three things, each in small:
//
//   - A [Board] keeps what must be the same for all, under a name. It changes by
//     compare-and-set only, so that who was away or paused can't overwrite what
//     others have done meanwhile. The rings of a [Vault] are on it,
//     sealed; so are a [Lease], by which one replica at a time moves rings on, and
//     a [Journal] of what was done. One that is a [Watcher] says when it was changed.
//   - A [Register] keeps what each replica said of itself: that it lives, which
//     versions it holds and with which it issues. [Presence] reads and writes it,
//     and an [Announcer] says it often enough, and no oftener.
//   - [KeepAlive] and [Gone] are how often that is.
//
// Redis has both (keyway/internal/session/redis), and so has a [Folder]. What
// every form promises is tested by keyway/internal/fleet/fleettest.
//
// # An error is not an absence
//
// Nothing found is an answer (no value, no error); not knowing is an error. Who
// takes the one for the other makes a second session key whenever the store is
// away for a moment. After an error other than [ErrConflict] a write may have
// happened, or may happen yet: read again, then decide.
//
// # Whose clock
//
// Dates of different replicas are compared, and their clocks may be minutes
// apart. So there is one clock, the store's: the time of Redis, or that of the
// file system that the folder is on. A replica says how long ago something was,
// by its own clock, which needs only to run at the right speed; the store notes
// when it heard of it; the reader subtracts. What is lost on the way makes dates
// later, never earlier, which is the safe side: a version is activated or
// retired later.
package fleet

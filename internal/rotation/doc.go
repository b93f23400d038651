// Package rotation moves the rings of secrets on while they are in use.
//
// [Decide] is a pure function of the ring, of what is known about replicas and
// peers, of the secret's policy, and of the time. It says one next move, why, and
// what it waits for. That is what lets every corner of a rotation be tried in a
// table, and thousands of interleavings in a second.
//
// A [Runner] does it: it gathers what is known, has it decided, writes the move
// into the [Journal], and makes it by compare-and-set, so that it can die between
// any two of these. Every replica has one; the one that leads moves, and any takes
// requests ([Runner.Rotate], [Runner.RollBack], [Runner.HandIn]). What takes long,
// such as asking a peer, goes on beside it. Where rings are kept, who else is there
// and how a peer is asked are others' business.
package rotation

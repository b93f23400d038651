// Package rotation decides how a secret's ring moves on.
//
// [Decide] is a pure function of the ring, of what is known about replicas and
// peers, of the secret's policy, and of the time. It says one next move, why, and
// what it waits for; doing it is somebody else's business. That is what lets
// every corner of a rotation be tried in a table, and thousands of interleavings
// in a second.
package rotation

// Package embedded keeps sessions in a file, so that they survive a restart, a
// kill -9 and a loss of power: what a call has answered is on the disk.
//
// One process has the file at a time. Several replicas need a store that they
// share.
//
// The file (bbolt) never shrinks: it stays as large as the most that was in it
// at once, and reuses the room. Whoever reads it finds sealed records under
// hashed names; it is kept to its owner all the same.
package embedded

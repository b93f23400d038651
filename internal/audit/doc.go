// Package audit keeps the record of what happened to secrets: a chain of events in
// which each names the hash of the one before, so that a missing, changed or
// reordered one shows.
//
// It promises that no value of a secret, no token and no more of a user than an event
// needs is ever in it, and that who records never waits for where it is kept.
package audit

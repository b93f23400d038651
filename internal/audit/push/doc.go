// Package push delivers the entries of the record as security event tokens
// (RFC 8417) over HTTP (RFC 8935), each signed by the gateway's signing key.
//
// It promises that a receiver is sent one token after another, in order, and the
// next one only when it has taken the one before, or has said of that one alone
// that it never will.
package push

// Package problem is how failures leave the gateway.
//
// Rooms return errors whose kind is a [Code]; one edge, [Write], turns them
// into application/problem+json (RFC 9457). A response carries the stable code,
// a sentence for a person, and the correlation id under which the log has the
// rest; never the cause, which is for the operator and could help an attacker.
package problem

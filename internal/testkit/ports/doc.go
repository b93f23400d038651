// Package ports hands out loopback ports, and promises that a port belongs to one
// test, also while nobody listens at it: what is killed and started again meets
// nobody else at its address, from this test binary or from another.
package ports

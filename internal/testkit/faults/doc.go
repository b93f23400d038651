// Package faults puts a proxy between the code under test and a real part, and
// makes the connection fail in the ways that networks do: refused, slow, reset,
// or open and silent. Everything happens on loopback.
package faults

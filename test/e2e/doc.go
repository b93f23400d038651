// Package e2e runs the keyway binary as its users do, in front of real parts,
// and holds the tools for it: a build with the race detector, processes that
// can be killed and started again, and a browser's cookie jar over HTTP.
package e2e

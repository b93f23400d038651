// Package threat lets a test say which case of the threat list it covers.
//
// The list itself is docs/reference/threats.md. It is made from a test run, so
// a case without a passing test shows as open, whatever anybody believes.
package threat

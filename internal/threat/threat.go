// Package threat lets a test say which case of the threat list it covers.
//
// The list itself is docs/reference/threats.md. It is made from a test run, so
// a case without a passing test shows as open, whatever anybody believes.
package threat

import "testing"

// Covers records that the calling test, or subtest, proves the numbered cases.
// Call it first, so that a case whose test fails early is listed as failing
// rather than as missing.
func Covers(t testing.TB, cases ...int) {
	t.Helper()
	for _, n := range cases {
		t.Logf("threat %d", n)
	}
}

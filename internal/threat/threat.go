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

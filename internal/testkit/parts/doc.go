// Package parts knows which real parts a test may need, and whether this
// machine has them.
//
// The promise: a test that needs one of [All], Redis or a browser, says so in one line,
// is left out where the part is missing, and nobody takes its absence for a pass. On
// a machine that is meant to have everything (KEYWAY_REQUIRE_PARTS=1, which `make test`
// sets) a missing part is a failure.
package parts

// Package leakhunt writes down, while the tests run, every secret that they use and
// everything that a gateway says which no secret may be in: logs, metrics, admin
// answers, the record, traces. When all is over, `go run ./test/leakhunt` looks for
// the ones in the others.
//
// It does nothing unless KEYWAY_LEAKHUNT names a folder, which `make unit` makes
// anew, for nobody but its owner. What is written there are secrets of a test run,
// worth nothing once it has ended.
//
// Each test process writes files of its own, one write for each record: a test
// binary that is killed, or ends by os.Exit, has lost nothing that it had said.
package leakhunt

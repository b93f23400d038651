// Package child runs the other processes that tests need, and promises that
// none of them outlives the test: it ends when the test ends, when the test
// binary crashes, and when somebody presses Ctrl-C.
package child

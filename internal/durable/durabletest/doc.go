// Package durabletest ends processes at some moment, for the tests of what must outlast
// that.
package durabletest

// Package limittest says what all limit.Counters do.
package limittest

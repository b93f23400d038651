// Package logbuffer is a log for tests, which may be read while it is written to.
package logbuffer

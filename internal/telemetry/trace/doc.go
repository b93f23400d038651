// Package trace has what a request goes through told as spans, for whoever
// collects them; nothing when nobody does.
//
// A room that makes a trip over the network begins a span with [Client], below the
// one that it finds in its context. Without one there, as always when traces are
// off, both do nothing and allocate nothing. There is no global tracer.
//
// No path, query, cookie, token, address or user goes into a span. Names and
// attributes follow OpenTelemetry's semantic conventions as far as that allows.
package trace

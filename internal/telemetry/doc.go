// Package telemetry is what an operator sees of a running gateway: logs, one
// event for each request, metrics, and the last quarter of an hour by the second.
// Traces are in the packages trace and otlp below it.
//
// No value of a secret, no token, no cookie and no query string goes through
// here. No label of a metric carries a user; each has a bounded set of values.
// Nothing in here is global: a process has the logger and the registry that it
// was given, and two gateways in one process don't mix.
package telemetry

// Package otlp hands spans to an OpenTelemetry collector, by OTLP over HTTP.
//
// It promises that a collector that is away, slow or wrong costs no request
// anything: spans wait in a bounded queue, and what does not fit is dropped.
package otlp

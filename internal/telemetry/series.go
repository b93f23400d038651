package telemetry

import "time"

// Point is what happened within one second.
type Point struct {
	At           time.Time `json:"at"`            // the second's beginning
	Good         int       `json:"good"`          // answers 1xx to 3xx
	ClientErrors int       `json:"client_errors"` // 4xx
	ServerErrors int       `json:"server_errors"` // 5xx
	Refused      int       `json:"refused"`       // of the 4xx: 401 and 403
	InFlight     int       `json:"in_flight"`     // at its end
	// P50 and P99 are of the durations, in milliseconds; 0 without requests.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

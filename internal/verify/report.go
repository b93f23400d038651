package verify

import "time"

// Check is one step of the checklist, and what came of it.
type Check struct {
	ID   string `json:"id"` // stable, for programs
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Skipped says that it does not apply here; Saw says why, and OK is true.
	Skipped bool   `json:"skipped,omitempty"`
	Saw     string `json:"saw"`
	// Cause and Cure are for people; empty when it is OK.
	Cause string `json:"cause"`
	Cure  string `json:"cure"`
	// TookMS is how long it took, in milliseconds.
	TookMS int64 `json:"took_ms"`
	// Secrets are the names of those that it is about.
	Secrets []string `json:"secrets,omitempty"`
}

// Report is the checklist, gone through once.
type Report struct {
	OK      bool      `json:"ok"` // every check is
	Checks  []Check   `json:"checks"`
	At      time.Time `json:"at"`
	Replica string    `json:"replica,omitempty"` // that looked
}

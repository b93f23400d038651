package source

import (
	"fmt"

	"keyway/internal/secret"
)

// Reading is what the places of a secret hold.
type Reading struct {
	Name     string
	Current  secret.Found
	Previous *secret.Found // nil: none is handed in, or it is the current one
}

// Why says what kind of trouble there is.
type Why string

// The kinds of trouble.
const (
	Missing    Why = "missing"        // a file that is named or was used is not there
	Empty      Why = "empty"          // nothing in it, or a line break only
	Torn       Why = "half-written"   // it has not held still for Options.Patience
	Unreadable Why = "unreadable"     // permissions, a symlink loop, a failing disk
	TooLarge   Why = "too large"      // above secret.MaxFileBytes
	Refused    Why = "refused"        // by Secret.Check: too weak, or not what it should be
	NotAFile   Why = "not a file"     // a folder, a pipe, a device
	Same       Why = "the same value" // the file was written again and holds what it held
)

// Trouble says that a place of a secret can't be used. It holds no value.
type Trouble struct {
	Name   string
	Path   string
	Why    Why
	Detail string // what was expected and found
	Kept   bool   // there is a last good value, and it stays in use
	// Over: the trouble that was reported with the other fields has ended. Same
	// tells of a moment: it does not end.
	Over bool
}

// Error implements error.
func (t Trouble) Error() string {
	text := fmt.Sprintf("%s: %s: %s", t.Name, t.Path, t.Detail)
	switch {
	case t.Over:
		return text + " (this is over)"
	case t.Kept:
		return text + "; the last good value stays in use"
	}
	return text + "; there is no value yet"
}

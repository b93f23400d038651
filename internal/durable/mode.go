package durable

import (
	"fmt"
	"io/fs"
)

// ModeError says that others than its owner can read, change or enter something, or
// that it is not a file. Found and Want have the type besides the permissions.
type ModeError struct {
	Path        string
	Found, Want fs.FileMode
}

func (e *ModeError) Error() string {
	if e.Want.IsDir() {
		return fmt.Sprintf("%s: expected mode %04o, so that nobody but its owner can enter it, found %04o", e.Path, e.Want.Perm(), e.Found.Perm())
	}
	return fmt.Sprintf("%s: expected a file of mode %04o, so that nobody but its owner can read or write it, found %s", e.Path, e.Want.Perm(), e.Found)
}

package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// Revision names one state of one entry of a [Board]. It is opaque, and random
// rather than counted: a store that falls back to an older state (a fail-over of
// Redis loses the last writes) and moves on from there must not arrive at a
// revision that somebody still remembers for something else. The zero Revision
// means that there is no entry.
type Revision string

// ErrConflict says that an entry is not at the revision that was expected: read
// it again. It is the only error of CompareAndSet that says what happened.
var ErrConflict = errors.New("fleet: the entry was changed by somebody else")

// MaxValue is how many bytes an entry of a board may have.
const MaxValue = 1 << 20

// Board is a small set of named entries that all replicas can read and change.
// Nothing is ever removed from it. It is safe for concurrent use, and every call
// ends within a few seconds, whatever ctx says.
type Board interface {
	// Get returns the value under name and its revision; when there is none, nil
	// and the zero Revision, without an error.
	Get(ctx context.Context, name string) (value []byte, revision Revision, err error)
	// CompareAndSet stores value if the entry is at revision (zero: if there is
	// none), and returns the new revision. It fails with ErrConflict when it is at
	// another one. After any other error it may or may not have been stored.
	CompareAndSet(ctx context.Context, name string, revision Revision, value []byte) (Revision, error)
}

// RevisionLen is the length of every revision but the zero one.
const RevisionLen = 26

// NewRevision is for those who build a Board.
func NewRevision() Revision { return Revision(rand.Text()) }

// CheckEntry is for those who build a Board: what CompareAndSet refuses.
func CheckEntry(name string, revision Revision, value []byte) error {
	switch {
	case name == "":
		return errors.New("fleet: an entry needs a name")
	case revision != "" && len(revision) != RevisionLen:
		return fmt.Errorf("fleet: entry %s: expected a revision that Get or CompareAndSet returned, found another", name)
	case len(value) > MaxValue:
		return fmt.Errorf("fleet: entry %s: expected at most %d bytes, found %d", name, MaxValue, len(value))
	}
	return nil
}

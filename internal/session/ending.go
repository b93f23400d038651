package session

import (
	"context"
	"errors"
	"time"
)

const (
	// endAllTries is how often ending all sessions of somebody is tried. It fails half
	// done, when the store is away for a moment, and goes on where it was.
	endAllTries = 3
	// endAllPause is the time between two tries.
	endAllPause = 300 * time.Millisecond
)

// Ending ends all sessions of somebody with what there is, however often that
// changes meanwhile.
type Ending struct {
	// Current is the Manager of now. It is called before each try.
	Current func() *Manager
	// Missing is told of an error for which IsUnknownVersion is true: a record is sealed
	// with a key that came since. It returns when that may be there, and fails when
	// nobody can know.
	Missing func(ctx context.Context, err error) error
}

// EndAll is Manager.EndAll, up to three times. The records are those of all tries,
// and it fails with what the last one did.
func (e Ending) EndAll(ctx context.Context, w Whose, until time.Time) ([]Record, error) {
	var all []Record
	for try := 1; ; try++ {
		ended, err := e.Current().EndAll(ctx, w, until)
		all = append(all, ended...)
		if err == nil || errors.Is(err, ErrWhose) || try == endAllTries || !e.mayTryAgain(ctx, err) {
			return all, err
		}
	}
}

// mayTryAgain waits, and reports whether there is time for another try.
func (e Ending) mayTryAgain(ctx context.Context, err error) bool {
	if IsUnknownVersion(err) {
		return e.Missing(ctx, err) == nil
	}
	pause := time.NewTimer(endAllPause)
	defer pause.Stop()
	select {
	case <-pause.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// awayEvery is how often is said at most that a decision point does not answer.
const awayEvery = time.Minute

// awayLog says that a decision point does not answer, and that it does again. Each
// request that is denied for it has a line of its own, which looks like any 403.
// Safe for concurrent use.
type awayLog struct {
	away atomic.Bool // it was said, and nothing was answered since

	mu   sync.Mutex
	told time.Time
	of   int // questions without an answer since it was told
}

// tell is told what came of each question. Who went away says nothing of anybody.
func (l *awayLog) tell(log *slog.Logger, host string, err error) {
	switch {
	case err == nil:
		if l.away.Load() && l.away.CompareAndSwap(true, false) {
			log.Info("the policy decision point answers again", "host", host)
		}
		return
	case errors.Is(err, context.Canceled):
		return
	}
	l.mu.Lock()
	l.of++
	now, unanswered := time.Now(), l.of
	soon := !l.told.IsZero() && now.Sub(l.told) < awayEvery
	if !soon {
		l.told, l.of = now, 0
	}
	l.mu.Unlock()
	if !soon {
		l.away.Store(true)
		log.Warn("questions to the policy decision point have no answer; what they are about is denied (403)", "host", host, "questions", unanswered, "error", err.Error())
	}
}

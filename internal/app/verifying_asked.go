package app

import (
	"context"
	"slices"
	"strings"
	"time"

	"keyway/internal/verify"
)

const (
	// verifyPause is the least time between two checklists, whoever asks: proofs look
	// like guesses to a provider.
	verifyPause = 200 * time.Millisecond
	// verifyAskedPause is the least time between two that people ask for: of the whole
	// one, and of what is about each secret. A script that asks in a loop has the
	// providers asked no more often.
	verifyAskedPause = 5 * time.Second
)

// whole stands for the whole checklist among names of secrets.
const whole = ""

// asked is a checklist that people wait for.
type asked struct {
	done  chan struct{} // closed when r or err is there
	began time.Time
	r     verify.Report
	err   error
	told  map[string]bool // by who asked; guarded by verifying.mu
}

// shared has run called for all who ask for the same before it begins, and gives each
// what it came to. Who asks later waits for another: what was changed before somebody
// asked is looked at. first: nobody else of that name was given this report.
func (v *verifying) shared(ctx context.Context, secrets []string, by string, run func() (verify.Report, error)) (r verify.Report, first bool, err error) {
	since := time.Now()
	names := slices.Sorted(slices.Values(secrets))
	if len(names) == 0 {
		names = []string{whole}
	}
	key := strings.Join(names, "\x00")
	for {
		v.mu.Lock()
		one, joined := v.waiting[key]
		if !joined {
			one = &asked{done: make(chan struct{}), told: map[string]bool{}}
			v.waiting[key] = one
		}
		v.mu.Unlock()
		if !joined {
			v.lead(ctx, key, names, one, run)
		}
		select {
		case <-one.done:
		case <-ctx.Done():
			return verify.Report{}, false, context.Cause(ctx)
		}
		if one.err == nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			first = !one.told[by]
			one.told[by] = true
			r := one.r
			r.WaitedMS = one.began.Sub(since).Milliseconds()
			return r, first, nil
		}
		if !joined || ctx.Err() != nil {
			return verify.Report{}, false, one.err
		}
		// Whoever it was begun for has gone: somebody who is still here goes on.
	}
}

// lead goes through the checklist for all who wait for it.
func (v *verifying) lead(ctx context.Context, key string, names []string, one *asked, run func() (verify.Report, error)) {
	closed := func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.waiting[key] == one {
			delete(v.waiting, key)
		}
	}
	one.err = context.Canceled // also when run panics: the others are not left waiting
	defer close(one.done)
	defer closed()
	one.r, one.err = v.alone(ctx, names, func() (verify.Report, error) {
		closed()
		one.began = time.Now()
		return run()
	})
}

// alone has run called when nobody else goes through a checklist, and the pauses are
// over. names are what somebody asked for; none: nobody did. Its own errors are those
// of ctx.
func (v *verifying) alone(ctx context.Context, names []string, run func() (verify.Report, error)) (verify.Report, error) {
	for {
		select {
		case v.one <- struct{}{}:
		case <-ctx.Done():
			return verify.Report{}, context.Cause(ctx)
		}
		left := v.left(names)
		if left <= 0 && ctx.Err() == nil {
			break
		}
		<-v.one // so that what nobody asked for goes on meanwhile
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return verify.Report{}, context.Cause(ctx)
		}
	}
	defer func() {
		// Who hangs up has had it asked all the same.
		v.ended = time.Now()
		for _, name := range names {
			v.endedOf[name] = v.ended
		}
		<-v.one
	}()
	return run()
}

// left is for how long there has to be a pause yet.
func (v *verifying) left(names []string) time.Duration {
	left := verifyPause - time.Since(v.ended)
	for _, name := range names {
		left = max(left, verifyAskedPause-time.Since(v.endedOf[name]))
	}
	return left
}

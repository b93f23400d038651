package app

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// background starts what goes on beside requests, until stop is called.
func (a *app) background() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, run := range []func(context.Context){a.side.run, a.follower.run, a.runner.Run, a.recorder.Run, a.chronicle.run, a.reloads, a.verifications,
		a.policies.run, a.watchPolicies, a.remindSwitchedOff, a.tellDecisions,
	} {
		group.Go(func() { again(ctx, a.log, run) })
	}
	group.Go(func() {
		contained(a.log, func() { _ = a.watcher.Run(ctx) }) // it runs once
		if ctx.Err() == nil {
			a.log.Error("what is handed in is not watched any more: until this process is started again, a new value is not seen")
		}
	})
	return func() {
		cancel()
		group.Wait()
	}
}

// again runs until ctx ends.
func again(ctx context.Context, log *slog.Logger, run func(context.Context)) {
	for ctx.Err() == nil {
		contained(log, func() { run(ctx) })
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// contained runs what goes on beside requests, whose defects must not end those.
func contained(log *slog.Logger, run func()) {
	defer func() {
		if recover() != nil { // not the panic's own text: it may have anything
			log.Error("what goes on beside requests met a defect; please report it", "stack", string(debug.Stack()))
		}
	}()
	run()
}

// countedWithin bounds how long a start waits for the others to count on this
// replica.
const countedWithin = 3 * time.Second

// awaitCounted waits until this replica may issue: who is ready must not send users
// away. A store that went away meanwhile is not waited for.
func (a *app) awaitCounted(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, countedWithin)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !a.mayIssue() {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

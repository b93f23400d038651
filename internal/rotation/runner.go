package rotation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// ErrUnchanged is what a change of [Rings.Update] returns when there is nothing
// to do.
var ErrUnchanged = errors.New("rotation: the ring stays as it is")

// errDefect is for what did not return.
var errDefect = errors.New("rotation: a defect")

// errMoved: the ring is not the one that was decided on any more.
var errMoved = errors.New("rotation: the ring has been moved on meanwhile")

const (
	// eager is how often a decision is looked at again while replicas or a peer
	// are waited for, and idle when nothing is under way.
	eager = 100 * time.Millisecond
	idle  = 2 * time.Second
	// hurry is for how long after something happened a Runner is eager.
	hurry = 30 * time.Second
	// passWithin bounds one pass over all secrets.
	passWithin = 30 * time.Second
	// maxMoves bounds the moves of one secret in one pass.
	maxMoves = 8
)

// Options of a Runner. All but Log and Observer are needed.
type Options struct {
	Rings    Rings
	Journal  Journal
	Fleet    Fleet
	Secrets  []Secret
	Log      *slog.Logger
	Observer Observer
}

// Runner turns secrets. Each replica has one; that which leads moves rings on,
// one move at a time, each written to the journal before it is made. Any of them
// takes requests. It is safe for concurrent use.
type Runner struct {
	o       Options
	secrets map[string]*turning
	wake    chan struct{}
	random  func() float64 // to be apart from others, not to be unguessable
	work    sync.WaitGroup // of beside

	mu     sync.Mutex
	hurry  time.Time // be eager until
	failed string    // what was last complained of
}

// turning is a secret, and what the Runner that leads remembers of it.
type turning struct {
	Secret
	asking sync.Mutex // one request at a time
	proofs proofs
	tended tended
	told   told // of values that are handed in too fast
}

// NewRunner builds a Runner. Names of secrets must differ.
func NewRunner(o Options) (*Runner, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = silent{}
	}
	r := &Runner{o: o, secrets: map[string]*turning{}, wake: make(chan struct{}, 1), random: mathrand.Float64}
	for _, s := range o.Secrets {
		if r.secrets[s.Name] != nil {
			return nil, fmt.Errorf("rotation: expected names that differ, found %s twice", s.Name)
		}
		r.secrets[s.Name] = &turning{Secret: s}
	}
	return r, nil
}

type silent struct{}

func (silent) Moved(string, string) {}

// Wake has the Runner look at once: a ring was changed, or a replica said
// something new.
func (r *Runner) Wake() {
	r.mu.Lock()
	r.hurry = time.Now().Add(hurry)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run turns secrets until ctx ends, and returns when all that it began has ended,
// too.
func (r *Runner) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer r.work.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
		timer.Reset(r.pass(ctx))
	}
}

// beside does what a pass does not wait for: until run ends, and for no longer than
// within. A defect in it must not end what is served.
func (r *Runner) beside(run context.Context, within time.Duration, work func(context.Context)) {
	r.work.Go(func() {
		defer func() {
			if recover() != nil { // not the panic's own text: it may have anything
				r.o.Log.Error("what is done beside requests met a defect, and is tried again; please report it", "stack", string(debug.Stack()))
			}
		}()
		ctx, cancel := context.WithTimeout(run, within)
		defer cancel()
		work(ctx)
	})
}

// pass looks at every secret once, and says when to look again. What it begins and
// does not wait for ends with run.
func (r *Runner) pass(run context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(run, passWithin)
	defer cancel()
	lead, err := r.o.Fleet.Lead(ctx)
	if err != nil || !lead {
		r.complain(ctx, err)
		return idle / 2
	}
	roll, err := r.o.Fleet.Roll(ctx)
	if err != nil {
		r.complain(ctx, err)
		return idle / 2
	}
	if roll.Now.Before(roll.Ready) {
		return min(idle, roll.Ready.Sub(roll.Now)+time.Millisecond)
	}
	next := idle
	began := time.Now()
	now := func() time.Time { return roll.Now.Add(time.Since(began)) }
	var errs []error
	for _, s := range r.o.Secrets {
		again, err := r.turn(ctx, run, r.secrets[s.Name], roll, now)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Name, err))
		}
		next = min(next, again)
	}
	r.complain(ctx, errors.Join(errs...))
	return max(next, eager/10)
}

// complain says once for each change that nothing can be moved.
func (r *Runner) complain(ctx context.Context, err error) {
	text := ""
	if err != nil && ctx.Err() == nil {
		text = err.Error()
	}
	r.mu.Lock()
	was := r.failed
	r.failed = text
	r.mu.Unlock()
	switch {
	case text == was:
	case text != "":
		r.o.Log.Warn("secrets can't be turned for now; what is in use stays in use", "error", text)
	default:
		r.o.Log.Info("secrets can be turned again")
	}
}

// newID is the id of a rotation.
func newID() string { return strings.ToLower(rand.Text()[:16]) }

package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"keyway/internal/secret"
)

// Options say how to watch. Only Finder.Env is needed.
type Options struct {
	// Finder says where named secrets are looked for.
	Finder secret.Finder
	// Poll is the time between two looks at everything, give or take a fifth so
	// that replicas don't look in step; 0 means 15 s.
	Poll time.Duration
	// Settle is for how long a value must have been seen unchanged; 0 means
	// 500 ms. A writer that stops for longer in the middle of a file is not
	// noticed. Event-driven looks are at least that far apart, too.
	Settle time.Duration
	// Patience is how long a file may keep changing before that is trouble; 0
	// means 5 s.
	Patience time.Duration
	// Grace is how long a file that was used may be away before another place is
	// believed, or a previous value counts as withdrawn; 0 means 1 min. That it
	// is away is reported after Settle.
	Grace time.Duration
	// PollOnly does without watching folders.
	PollOnly bool
	// OnReading and OnTrouble are called one at a time, in the goroutine of Run.
	// They must be quick, and must not call Reread. May be nil.
	OnReading func(Reading)
	OnTrouble func(Trouble)
	// Log gets what is reported, without values; nil logs nothing.
	Log *slog.Logger
}

// rereadEvery bounds what Reread costs, whoever asks.
const rereadEvery = time.Second

// ErrStopped is what Reread returns when the watcher has ended.
var ErrStopped = errors.New("secrets are not watched any more")

// Watcher watches where secrets come from. Its methods are safe for concurrent
// use.
type Watcher struct {
	options Options
	secrets []*tracked
	wake    chan struct{} // somebody waits in waiting

	mu       sync.Mutex
	started  bool
	stopped  bool
	waiting  *turn // whoever calls Reread now
	troubles []Trouble
}

// turn is a reading of everything that its callers share.
type turn struct {
	done chan struct{}
	err  error
}

// New reads the environment, and nothing else yet. Names must differ.
func New(secrets []Secret, o Options) (*Watcher, error) {
	if o.Finder.Env == nil {
		return nil, errors.New("a watcher of secrets needs Options.Finder.Env, such as os.LookupEnv")
	}
	o.Poll = cmp.Or(max(o.Poll, 0), 15*time.Second)
	o.Settle = cmp.Or(max(o.Settle, 0), 500*time.Millisecond)
	o.Patience = cmp.Or(max(o.Patience, 0), 5*time.Second)
	o.Grace = cmp.Or(max(o.Grace, 0), time.Minute)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{options: o, wake: make(chan struct{}, 1)}
	taken := map[string]bool{}
	for _, s := range secrets {
		current, previous, err := locate(o.Finder, s)
		if err != nil {
			return nil, err
		}
		if taken[s.Name] {
			return nil, fmt.Errorf("expected names that differ, found %s twice", s.Name)
		}
		taken[s.Name] = true
		w.secrets = append(w.secrets, &tracked{Secret: s, current: slot{places: current}, previous: slot{places: previous}})
	}
	return w, nil
}

// Run watches until ctx ends, and returns nil then. It can be called once.
func (w *Watcher) Run(ctx context.Context) error {
	w.mu.Lock()
	if w.started {
		w.mu.Unlock()
		return errors.New("a watcher of secrets runs once")
	}
	w.started = true
	w.mu.Unlock()

	r := &run{Watcher: w, notifier: &notifier{}, reader: &reader{}}
	if !w.options.PollOnly {
		r.notifier = newNotifier(w.options.Log)
	}
	defer r.notifier.close()
	defer r.end()
	r.loop(ctx)
	return nil
}

// Reread reads everything now, and returns when that is reported: all that
// differs has settled, or is trouble. Callers share it, and there is one such
// reading a second at most: a call shortly after another waits for the next, so
// who serves a request bounds it by ctx. The error is made of what is in trouble,
// each a Trouble; or is that of ctx; or is ErrStopped. A call before Run waits
// for it, and returns when the first readings are reported.
func (w *Watcher) Reread(ctx context.Context) error {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return ErrStopped
	}
	if w.waiting == nil {
		w.waiting = &turn{done: make(chan struct{})}
	}
	t := w.waiting
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Troubles are those that stand, in the order of the secrets.
func (w *Watcher) Troubles() []Trouble {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Trouble(nil), w.troubles...)
}

// run is what only the goroutine of Run touches.
type run struct {
	*Watcher
	*notifier
	*reader

	next    time.Time // look
	poll    time.Time // look even if nothing was heard
	last    time.Time // looked
	reread  time.Time // last look that Reread asked for
	serving *turn     // is answered when nothing is open
}

func (r *run) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-r.events():
			if !ok || !r.matters(e) {
				continue
			}
			r.sooner(r.last.Add(r.options.Settle))
		case err := <-r.errors():
			// Events were lost, most likely: what they told of is looked for.
			r.options.Log.Debug("watching the folders of secrets met an error; everything is read again", "error", err)
			r.sooner(r.last.Add(r.options.Settle))
		case <-r.wake:
			r.sooner(r.reread.Add(rereadEvery))
		case <-timer.C:
			r.lookAtAll(time.Now())
		}
		timer.Reset(time.Until(r.next))
	}
}

func (r *run) sooner(at time.Time) { r.next = earlier(r.next, at) }

func (r *run) lookAtAll(now time.Time) {
	if r.poll.IsZero() || !now.Before(r.poll) {
		r.poll = now.Add(time.Duration(float64(r.options.Poll) * (0.8 + 0.4*rand.Float64())))
	}
	r.last, r.next = now, r.poll
	r.mu.Lock()
	if r.waiting != nil && r.serving == nil { // whatever the look is for, it serves
		r.serving, r.waiting, r.reread = r.waiting, nil, now
	}
	r.mu.Unlock()

	r.arm(r.trails())
	for _, t := range r.secrets {
		again, found := t.look(r.reader, &r.options, now)
		r.next = earlier(r.next, again)
		for _, f := range found {
			r.report(f)
		}
	}
	if r.arm(r.trails()) {
		r.sooner(now.Add(r.options.Settle))
	}
	r.answer(now)
}

func (r *run) trails() names {
	all := names{}
	if r.watcher == nil {
		return all
	}
	for _, t := range r.secrets {
		for _, places := range []places{t.current.places, t.previous.places} {
			for _, path := range places.paths {
				all.trail(path)
			}
		}
	}
	return all
}

func (r *run) report(found any) {
	log := r.options.Log
	switch f := found.(type) {
	case Reading:
		previous := "none"
		if f.Previous != nil {
			previous = f.Previous.Origin
		}
		log.Info("secret read", "secret", f.Name, "from", f.Current.Origin, "previous", previous)
		if r.options.OnReading != nil {
			r.options.OnReading(f)
		}
	case Trouble:
		level, text := slog.LevelWarn, "a secret's new value can't be used"
		switch {
		case f.Over:
			level, text = slog.LevelInfo, "a secret can be read again"
		case f.Why == Same:
			text = "a secret was written again, and is what it was"
		case !f.Kept:
			level, text = slog.LevelError, "a secret can't be read, and there is no value yet"
		}
		log.Log(context.Background(), level, text, "secret", f.Name, "path", f.Path, "why", string(f.Why),
			"detail", f.Detail, "last_good_value_stays", f.Kept)
		if r.options.OnTrouble != nil {
			r.options.OnTrouble(f)
		}
	}
}

// answer ends the turn that is served, if nothing is open.
func (r *run) answer(now time.Time) {
	var standing []Trouble
	var errs []error
	open := false
	for _, t := range r.secrets {
		open = open || t.open(r.options.Patience, now)
		for _, s := range []*slot{&t.current, &t.previous} {
			if s.troubled {
				standing = append(standing, s.trouble)
				errs = append(errs, s.trouble)
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.troubles = standing
	if r.serving != nil && !open {
		r.serving.err = errors.Join(errs...)
		close(r.serving.done)
		r.serving = nil
	}
	if r.waiting != nil && r.serving == nil {
		r.sooner(r.reread.Add(rereadEvery))
	}
}

func (r *run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for _, t := range []*turn{r.serving, r.waiting} {
		if t != nil {
			t.err = ErrStopped
			close(t.done)
		}
	}
	r.serving, r.waiting = nil, nil
}

package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Errors of a [Remote], told apart because the caller answers differently: a
// key that the IdP does not have is the sender's fault, one that can't be
// looked for now ([CoolDownError] among it) is not.
var (
	ErrUnknownKey  = errors.New("jwks: no key of the issuer fits")
	ErrUnavailable = errors.New("jwks: the issuer's keys can't be had")
)

// CoolDownError: no key that is known fits, and it is too soon to look for another.
// A key that the issuer has begun to sign with a moment ago can't be told from one
// that somebody made up, so this is an ErrUnavailable, and no ErrUnknownKey: whoever
// signed may try again. Anybody can cause it by a key id that nobody has, so who
// counts refusals should count it as one.
type CoolDownError struct {
	Wait time.Duration // until keys are looked for again; over 0, at most the cool-down
}

func (e *CoolDownError) Error() string {
	return "jwks: no key of the issuer that is known fits, and it is too soon to look for another"
}

// Is lets errors.Is(err, ErrUnavailable) hold.
func (e *CoolDownError) Is(target error) bool { return target == ErrUnavailable }

// RemoteOptions are the bounds of a Remote. Zero values mean the defaults.
type RemoteOptions struct {
	// Locate says where the key set is. It is asked at each fetch, because the
	// metadata that names the place may change.
	Locate func(context.Context) (string, error)
	// Client makes the requests. Redirects that leave the origin are refused
	// whatever the client would do.
	Client *http.Client
	// MinAge and MaxAge bound how long a set is taken to be fresh, whatever its
	// Cache-Control says. Defaults: 1 min, 1 h.
	MinAge, MaxAge time.Duration
	// DefaultAge is for answers that don't say. Default: 10 min.
	DefaultAge time.Duration
	// StaleFor is how long past its freshness a set is still used while it can't
	// be fetched again. Default: 1 h. A key that the issuer removed is accepted
	// no longer than MaxAge plus StaleFor.
	StaleFor time.Duration
	// CoolDown is the least time between two fetches because of unknown keys.
	// Default: 15 s.
	CoolDown time.Duration
	// Pause is the least time between a failed fetch and the next. Default: 2 s.
	Pause time.Duration
	// Timeout bounds one fetch, MaxBytes its body. Defaults: 10 s, 512 kB.
	Timeout  time.Duration
	MaxBytes int64
	// Observe, if set, is told of every fetch: the HTTP status (0: none came),
	// how long it took, and what was wrong.
	Observe func(status int, took time.Duration, err error)
}

func (o *RemoteOptions) defaults() {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.MinAge, time.Minute)
	set(&o.MaxAge, time.Hour)
	set(&o.DefaultAge, 10*time.Minute)
	set(&o.StaleFor, time.Hour)
	set(&o.CoolDown, 15*time.Second)
	set(&o.Pause, 2*time.Second)
	set(&o.Timeout, 10*time.Second)
	if o.MaxBytes <= 0 {
		o.MaxBytes = 512 << 10
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	if o.Observe == nil {
		o.Observe = func(int, time.Duration, error) {}
	}
}

// Remote keeps the public keys of one issuer. It fetches on demand, so it has
// no goroutine that would need to be stopped. Safe for concurrent use.
type Remote struct {
	o RemoteOptions

	mu           sync.Mutex
	keys         keySet
	fetchedAt    time.Time
	freshUntil   time.Time
	lastFailure  time.Time // zero: the last fetch succeeded
	lastUnknown  time.Time // last fetch because of an unknown key
	running      *fetch
	lastFetchErr error
}

// fetch is one fetch that is under way, shared by all who wait for it.
type fetch struct {
	done chan struct{}
	err  error // set before done is closed
}

// NewRemote builds a Remote that has fetched nothing yet.
func NewRemote(o RemoteOptions) *Remote {
	o.defaults()
	return &Remote{o: o}
}

// current returns the set to use now: fetched if there is none, refetched if it
// is no longer fresh, and a stale one for a bounded time while the issuer can't
// be reached.
func (r *Remote) current(ctx context.Context) (keySet, error) {
	now := time.Now()
	r.mu.Lock()
	keys := r.keys
	usable := keys != nil && now.Before(r.freshUntil.Add(r.o.StaleFor))
	fresh := keys != nil && now.Before(r.freshUntil)
	throttled := r.running == nil && !r.lastFailure.IsZero() && now.Before(r.lastFailure.Add(r.o.Pause))
	failure := r.lastFetchErr
	ahead := fresh && now.After(r.fetchedAt.Add(r.freshUntil.Sub(r.fetchedAt)*4/5))
	var f *fetch
	if (!fresh || ahead) && !throttled {
		f = r.start() // here, so that who saw one under way joins it, and starts no other within its pause
	}
	r.mu.Unlock()

	switch {
	case fresh: // nobody waits for a fetch ahead: the keys are good for a while yet
		return keys, nil
	case throttled && usable:
		return keys, nil
	case throttled:
		return nil, fmt.Errorf("%w: not tried again so soon after: %w", ErrUnavailable, failure)
	}
	err := f.wait(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		return r.keys, nil
	case usable && ctx.Err() == nil:
		return keys, nil
	default:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// renew is called by who met an unknown key. It fetches at most once in a
// cool-down, however many ask; who comes later is told to come again. looked is whether
// the set was fetched because of this call, and has what there is; else another may.
func (r *Remote) renew(ctx context.Context, seen keySet) (_ keySet, looked bool, _ error) {
	now := time.Now()
	r.mu.Lock()
	switch {
	case !sameSet(r.keys, seen): // somebody has just fetched: look there first
		keys := r.keys
		r.mu.Unlock()
		return keys, false, nil
	case r.running != nil: // it will do, and no other that somebody starts after it
	case now.Before(r.lastUnknown.Add(r.o.CoolDown)):
		failed, wait := !r.lastFailure.IsZero(), r.lastUnknown.Add(r.o.CoolDown).Sub(now)
		r.mu.Unlock()
		if failed {
			return nil, false, fmt.Errorf("%w: the last fetch failed, and it is too soon for another", ErrUnavailable)
		}
		return nil, false, &CoolDownError{Wait: wait}
	default:
		r.lastUnknown, looked = now, true
	}
	f := r.start() // before anybody else: whoever comes late must not start one beside the cool-down
	r.mu.Unlock()
	if err := f.wait(ctx); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys, looked, nil
}

// sameSet compares by identity: a fetch always makes a new set.
func sameSet(a, b keySet) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// wait is for the fetch's end, or ctx's.
func (f *fetch) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start starts a fetch unless one is under way. The fetch belongs to nobody, so
// that the first who asked can go away without failing the others; its own
// timeout ends it. r.mu is held.
func (r *Remote) start() *fetch {
	if r.running != nil {
		return r.running
	}
	f := &fetch{done: make(chan struct{})}
	r.running = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), r.o.Timeout)
		defer cancel()
		start := time.Now()
		keys, age, status, err := r.contained(ctx)
		r.o.Observe(status, time.Since(start), err)

		r.mu.Lock()
		defer r.mu.Unlock()
		now := time.Now()
		r.lastFetchErr = err
		if err != nil {
			r.lastFailure = now
		} else {
			r.keys, r.fetchedAt, r.freshUntil, r.lastFailure = keys, now, now.Add(age), time.Time{}
		}
		r.running, f.err = nil, err
		close(f.done)
	}()
	return f
}

// contained fetches. What others send must not end us, whatever a parser makes of
// it.
func (r *Remote) contained(ctx context.Context) (keys keySet, age time.Duration, status int, err error) {
	defer func() {
		if recover() != nil { // not the panic's own text: it may have anything
			keys, err = nil, errDefect
		}
	}()
	return r.fetch(ctx)
}

var errDefect = errors.New("jwks: a defect while reading the key set; please report it")

package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"keyway/internal/session"
	"keyway/internal/telemetry/trace"
)

// Store is a session.Store in Redis.
type Store struct {
	option    rueidis.ClientOption
	prefix    string
	timeout   time.Duration
	log       *slog.Logger
	scripts   scripts
	listeners session.Listeners

	client atomic.Pointer[rueidis.Client] // nil until the first connection
	slots  chan struct{}                  // holds one for each call under way
	away   atomic.Pointer[error]          // why calls are refused at once; nil: they are not
	check  chan struct{}                  // asks the probe to look
	lost   chan struct{}                  // a connection was lost
	graves graves
	closed atomic.Bool
	stop   chan struct{}
	probe  sync.WaitGroup
}

var _ session.Store = (*Store)(nil)

var (
	errClosed = errors.New("session store: closed")
	errDefect = errors.New("session store: met a defect")
)

// defect logs what a goroutine of ours has recovered from, if anything: it must not
// end everybody's requests. Not the panic's own text, which may have anything.
func (s *Store) defect(panicked any) {
	if panicked != nil {
		s.log.Error("what is done beside requests met a defect; please report it", "stack", string(debug.Stack()))
	}
}

// contained does what must be gone on after, whatever it meets.
func (s *Store) contained(do func()) {
	defer func() { s.defect(recover()) }()
	do()
}

// Open connects, for at most ctx. A Redis that can't be reached is no error: the
// store is there, and says that it can't know, until it can. What Redis itself
// refuses (the password, a server that can't track changes) is one. The store
// runs goroutines until Close.
func Open(ctx context.Context, o Options) (*Store, error) {
	option, err := clientOption(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Prefix == "" {
		o.Prefix = "keyway:"
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		option: option, prefix: o.Prefix, timeout: o.Timeout, log: o.Log,
		scripts: newScripts(),
		slots:   make(chan struct{}, inFlight),
		check:   make(chan struct{}, 1),
		lost:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
	s.option.OnInvalidations = s.invalidated
	s.setAway(errors.New("not connected yet"))
	first := make(chan error, 1)
	s.probe.Go(func() {
		err := errDefect
		s.contained(func() { err = s.look() })
		first <- err
		s.watch()
	})
	s.probe.Go(s.bury)
	select {
	case err = <-first:
	case <-ctx.Done():
		return s, nil
	}
	if refused(err) {
		_ = s.Close()
		return nil, fmt.Errorf("redis refuses: %w", err)
	}
	return s, nil // whoever waits for it tells so
}

// refused tells what Redis says about us from it not being there. What it says
// about itself passes.
func refused(err error) bool {
	if errors.Is(err, rueidis.ErrNoCache) {
		return true
	}
	re, ok := errors.AsType[*rueidis.RedisError](err)
	if !ok {
		return false
	}
	for _, passing := range []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "BUSY", "TRYAGAIN"} {
		if strings.HasPrefix(re.Error(), passing) {
			return false
		}
	}
	return true
}

// call runs fn, and returns when it is done, or when ctx or the store's timeout
// ends: the client waits for a connection that others are making, and for room
// in its queue, without regard to deadlines. Calls that were left behind hold
// their slot until the client lets go of them, so they can't pile up.
func call[T any](ctx context.Context, s *Store, fn func(context.Context, rueidis.Client) (T, error)) (T, error) {
	var zero T
	if s.closed.Load() {
		return zero, errClosed
	}
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	if why := s.away.Load(); why != nil {
		return zero, &AwayError{"redis is away", *why}
	}
	parent := ctx
	ctx, span := trace.Client(ctx, "redis")
	defer span.End()
	span.Text("db.system.name", "redis")
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return zero, &AwayError{fmt.Sprintf("redis: %d calls under way", inFlight), ctx.Err()}
	}
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errDefect} // unless fn returns
		defer func() {
			s.defect(recover())
			done <- r
			<-s.slots
		}()
		r.v, r.err = fn(ctx, *s.client.Load())
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if r.err == nil || isAnswer(r.err) {
		return r.v, r.err
	}
	span.Fail("unavailable")
	if parent.Err() != nil { // nobody waits any more, which says nothing of Redis
		return zero, fmt.Errorf("session store: redis: %w", r.err)
	}
	if _, said := rueidis.IsRedisErr(r.err); !said {
		s.lookSoon()
	}
	return zero, &AwayError{"redis", explain(r.err, s.timeout)}
}

func isAnswer(err error) bool {
	return errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrExists) || errors.Is(err, session.ErrConflict)
}

// Changes implements session.Notifier.
func (s *Store) Changes(fn func([]session.Key, bool)) (stop func()) { return s.listeners.Add(fn) }

// tell has listeners called, whose defects must not end what calls us: most of all
// the client's reading goroutine.
func (s *Store) tell(keys []session.Key, all bool) {
	s.contained(func() { s.listeners.Fire(keys, all) })
}

// invalidated is called on the client's reading goroutine, after what was read
// before on the same connection has been handed out; with nil when a connection
// is lost, or Redis was emptied.
func (s *Store) invalidated(messages []rueidis.RedisMessage) {
	if messages == nil {
		s.connectionLost()
		s.tell(nil, true)
		return
	}
	keys := make([]session.Key, 0, len(messages))
	for i := range messages {
		name, _ := messages[i].ToString()
		if k, ok := s.parseRecordName(name); ok {
			keys = append(keys, k)
		}
	}
	s.tell(keys, false)
}

// Ping implements session.Store.
func (s *Store) Ping(ctx context.Context) error {
	_, err := call(ctx, s, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
		return struct{}{}, c.Do(ctx, c.B().Ping().Build()).Error()
	})
	return err
}

// Close implements session.Store.
func (s *Store) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	close(s.stop)
	s.probe.Wait()
	if c := s.client.Load(); c != nil {
		(*c).Close()
	}
	for range inFlight { // all calls have let go
		s.slots <- struct{}{}
	}
	return nil
}

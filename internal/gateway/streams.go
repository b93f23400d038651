package gateway

import (
	"context"
	"fmt"
	"sync"

	"keyway/internal/problem"
	"keyway/internal/upstream"
)

// errStopping ends streams so that a WebSocket's close frame tells why.
var errStopping = fmt.Errorf("gateway: %w", upstream.ErrShutdown)

// streams are the responses that go on until somebody ends them. It counts them
// per session, and ends them all when the process stops, so that their clients
// can connect to another replica while this one still answers.
type streams struct {
	perSession int // 0: no limit
	once       sync.Once
	stopped    chan struct{}
	mu         sync.Mutex
	open       map[string]int
}

func newStreams(perSession int) *streams {
	return &streams{perSession: perSession, stopped: make(chan struct{}), open: map[string]int{}}
}

// stop ends every stream, and lets none begin.
func (s *streams) stop() { s.once.Do(func() { close(s.stopped) }) }

// begin counts a stream of a session (by public id; "" for none) and returns a
// context that ends with ctx or with the process. The caller must call end.
func (s *streams) begin(ctx context.Context, session string) (_ context.Context, end func(), err error) {
	select {
	case <-s.stopped:
		return nil, nil, problem.New(problem.ShuttingDown, nil)
	default:
	}
	if session != "" {
		s.mu.Lock()
		if s.perSession > 0 && s.open[session] >= s.perSession {
			s.mu.Unlock()
			return nil, nil, problem.Newf(problem.TooManyRequests, "session has %d streams open already", s.perSession)
		}
		s.open[session]++
		s.mu.Unlock()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.stopped:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		if session == "" {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[session]--; s.open[session] <= 0 {
			delete(s.open, session)
		}
	}, nil
}

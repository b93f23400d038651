package authz

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/threat"
)

// held is a decision point that answers when it is told to, and counts who is there.
type held struct {
	now, most atomic.Int64
	answer    chan struct{}
}

func (p *held) Evaluate(ctx context.Context, _ Question) (Decision, error) {
	p.most.Store(max(p.most.Load(), p.now.Add(1)))
	defer p.now.Add(-1)
	select {
	case <-p.answer:
		return Decision{Allow: true}, nil
	case <-ctx.Done():
		return Decision{}, ctx.Err()
	}
}

func (p *held) EvaluateAll(ctx context.Context, qs []Question) ([]Decision, error) {
	d, err := p.Evaluate(ctx, qs[0])
	return []Decision{d}, err
}

// A decision point has so many connections. One account holds a few of them, and what
// it asks beyond waits for its turn, and is not denied if that comes in time.
func TestOneAccountIsAskedAboutAFewAtATime(t *testing.T) {
	threat.Covers(t, 48)
	synctest.Test(t, func(t *testing.T) {
		p := &held{answer: make(chan struct{})}
		e := enforcer(t, p, func(o *Options) { o.Deadline, o.AskingEach = 2*time.Second, 3 })
		defer e.Close()
		a := compiled(t, Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
		var allowed, denied atomic.Int64
		var wg sync.WaitGroup
		ask := func(id string) {
			wg.Go(func() {
				v, err := e.Decide(t.Context(), &ada, a, factsOf(map[string]string{"id": id}, "", ""), Circumstances{})
				switch {
				case v.Allow:
					allowed.Add(1)
				case errors.Is(err, context.DeadlineExceeded): // with a turn or without
					denied.Add(1)
				default:
					t.Errorf("got %v", err)
				}
			})
		}
		for i := range 10 {
			ask(fmt.Sprint(i))
		}
		synctest.Wait()
		if n := p.now.Load(); n != 3 {
			t.Errorf("%d are asked at once", n)
		}
		// A list is one question.
		wg.Go(func() {
			if _, err := e.DecideAll(t.Context(), &ada, []Item{{"read", AnyOf("note")}}, Circumstances{}); err != nil {
				t.Error(err)
			}
		})
		for range 11 {
			p.answer <- struct{}{}
		}
		wg.Wait()
		if allowed.Load() != 10 || p.most.Load() != 3 {
			t.Errorf("%d allowed, %d at once", allowed.Load(), p.most.Load())
		}
		// Nobody answers: all of them have the same bound.
		for i := range 10 {
			ask(fmt.Sprint("again ", i))
		}
		wg.Wait()
		if denied.Load() != 10 || p.most.Load() != 3 || len(e.waits.of) != 0 || e.waits.all != 0 {
			t.Errorf("%d denied, %d at once; %d accounts and %d questions are kept", denied.Load(), p.most.Load(), len(e.waits.of), e.waits.all)
		}
	})
}

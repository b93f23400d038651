package rotation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// questions are when a peer was asked, and of what.
type questions struct {
	mu  sync.Mutex
	at  []time.Time
	say func(n int, version string) (Verdict, error) // n from 1
}

func (q *questions) ask(_ context.Context, version string) (Verdict, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.at = append(q.at, time.Now())
	return q.say(len(q.at), version)
}

func (q *questions) times() []time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]time.Time(nil), q.at...)
}

func busyFor(after time.Duration) error {
	return fmt.Errorf("of one peer of several: %w", &LaterError{After: after, Err: errors.New("status 429")})
}

// A peer that says when to come back is not asked before, though our keys are
// fetched all the time and though it is about another version by then. It can't
// put us off for ever.
func TestAPeerIsNotAskedBeforeItSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		first Verdict
		after time.Duration
		want  time.Duration
	}{
		"it can't say yet":              {Unknown, 20 * time.Minute, 20 * time.Minute},
		"another peer refuses":          {Refused, 20 * time.Minute, 20 * time.Minute},
		"longer than an answer is kept": {Refused, 50 * time.Minute, 50 * time.Minute},
		"for ever":                      {Unknown, 1 << 62, time.Hour},
		"not at all":                    {Unknown, -time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 71)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("r1")
				w.fetched = time.Now // there is always somebody
				s := w.secret()
				s.Policy = func(keyring.Ring) Policy { return outward }
				q := &questions{say: func(n int, _ string) (Verdict, error) {
					if n == 1 {
						return c.first, busyFor(c.after)
					}
					return Accepted, nil
				}}
				s.Prove = q.ask
				ask(t, w.runner(t, "r1", s))
				time.Sleep(2 * time.Hour)
				at := q.times()
				if len(at) < 2 {
					t.Fatalf("asked %d times in two hours", len(at))
				}
				if waited := at[1].Sub(at[0]); waited < c.want || waited > c.want+5*time.Second {
					t.Errorf("asked again after %s, want %s", waited, c.want)
				}
				if got := w.active(); got != "v1" {
					t.Errorf("in the end %s", w.states())
				}
			})
		})
	}
}

func TestAnotherVersionDoesNotHurryAPeer(t *testing.T) {
	threat.Covers(t, 71)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		q := &questions{say: func(n int, version string) (Verdict, error) {
			if version == "first" {
				return Unknown, busyFor(10 * time.Minute)
			}
			return Accepted, nil
		}}
		s.Prove = q.ask
		r := w.runner(t, "r1", s)
		for _, id := range []string{"first", "second"} {
			value := keyring.Candidate{ID: id, Value: secret.NewValue([]byte(id)), HandedIn: true}
			if _, err := r.HandIn(t.Context(), "k", value, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := len(q.times()); n != 1 {
			t.Errorf("asked %d times before it wants to be", n)
		}
		time.Sleep(10 * time.Minute)
		if got := w.active(); got != "second" {
			t.Errorf("after the pause: %s", w.states())
		}
	})
}

// That one of several peers is busy does not hide that another refuses: people are
// told, and its patience runs.
func TestARefusalBesideABusyPeerIsKept(t *testing.T) {
	p := proofs{version: "v1"}
	p.answered("v1", Refused, busyFor(time.Minute), 0)
	if proof, asked := p.of("v1"); !asked || proof.FirstRefused.IsZero() {
		t.Errorf("asked %v: %+v", asked, proof)
	}
	p = proofs{version: "v1"}
	p.answered("v1", Accepted, busyFor(time.Minute), 0)
	if proof, asked := p.of("v1"); asked || proof.Accepted {
		t.Errorf("accepted by all, though one was not heard: %+v", proof)
	}
}

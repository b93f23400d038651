package app

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/verify"
)

// Whoever asks in a loop has the providers asked once in five seconds, and whoever
// asks at once shares a run that began after they asked.
func TestChecklistsAreSharedAndApart(t *testing.T) {
	// runner counts runs, each of which takes a second.
	runner := func(runs *[]time.Time) func() (verify.Report, error) {
		return func() (verify.Report, error) {
			*runs = append(*runs, time.Now())
			time.Sleep(time.Second)
			return verify.Report{OK: true, At: time.Now()}, nil
		}
	}
	t.Run("in a loop", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v, runs, began := newVerifying(), []time.Time(nil), time.Now()
			for range 4 {
				r, first, err := v.shared(t.Context(), nil, "ada", runner(&runs))
				if err != nil || !first {
					t.Error(first, err)
				}
				if waits := len(runs) > 1; waits != (r.WaitedMS == verifyAskedPause.Milliseconds()) || !waits && r.WaitedMS != 0 {
					t.Errorf("run %d: waited %d ms", len(runs), r.WaitedMS)
				}
			}
			if took := time.Since(began); took != 4*time.Second+3*verifyAskedPause {
				t.Errorf("it took %s", took)
			}
			for i := 1; i < len(runs); i++ {
				if apart := runs[i].Sub(runs[i-1]); apart < verifyAskedPause {
					t.Errorf("%s apart", apart)
				}
			}
		})
	})
	t.Run("at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v, runs := newVerifying(), []time.Time(nil)
			var group sync.WaitGroup
			var mu sync.Mutex
			recorded := 0
			ask := func(by string) {
				group.Go(func() {
					asked := time.Now()
					r, first, err := v.shared(t.Context(), nil, by, runner(&runs))
					if err != nil || r.At.Sub(asked) < time.Second {
						t.Errorf("asked at %s, given what was seen at %s, %v", asked, r.At, err)
					}
					mu.Lock()
					defer mu.Unlock()
					if first {
						recorded++
					}
				})
			}
			ask("ada")
			synctest.Wait()
			time.Sleep(500 * time.Millisecond) // it is being gone through: who asks now is given the next
			for range 20 {
				ask("ada")
			}
			ask("grace")
			group.Wait()
			if len(runs) != 2 || recorded != 3 {
				t.Errorf("%d runs, %d recorded", len(runs), recorded)
			}
		})
	})
	t.Run("about other secrets, and by itself", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v, runs, began := newVerifying(), []time.Time(nil), time.Now()
			for _, secrets := range [][]string{nil, {"a"}, {"c", "b"}} {
				if _, _, err := v.shared(t.Context(), secrets, "ada", runner(&runs)); err != nil {
					t.Error(err)
				}
			}
			if _, err := v.alone(t.Context(), nil, runner(&runs)); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took != 4*time.Second+3*verifyPause {
				t.Errorf("it took %s", took)
			}
			ended := time.Now().Add(-time.Second - verifyPause) // of b and c
			if _, _, err := v.shared(t.Context(), []string{"b"}, "ada", runner(&runs)); err != nil || runs[4].Sub(ended) != verifyAskedPause {
				t.Errorf("%s after it was asked about, %v", runs[4].Sub(ended), err)
			}
		})
	})
	t.Run("of which the first goes away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v, runs := newVerifying(), []time.Time(nil)
			if _, err := v.alone(t.Context(), []string{whole}, runner(&runs)); err != nil {
				t.Fatal(err)
			}
			ctx, leave := context.WithCancelCause(t.Context())
			gone := errors.New("hung up")
			var group sync.WaitGroup
			group.Go(func() {
				if _, _, err := v.shared(ctx, nil, "ada", runner(&runs)); !errors.Is(err, gone) {
					t.Error(err)
				}
			})
			synctest.Wait()
			group.Go(func() {
				if r, first, err := v.shared(t.Context(), nil, "grace", runner(&runs)); err != nil || !first || !r.OK {
					t.Error(r, first, err)
				}
			})
			synctest.Wait()
			leave(gone)
			group.Wait()
			if len(runs) != 2 || len(v.waiting) != 0 {
				t.Errorf("%d runs, %d wait", len(runs), len(v.waiting))
			}
		})
	})
}

package source

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/secret"
)

// An operator replaces a file and sends SIGHUP: when that is answered, the new
// value is there.
func TestRereadReadsNow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	synctest.Test(t, func(t *testing.T) {
		write(t, path, value(1))
		o := pollOnly
		o.Poll = 24 * time.Hour
		h := watch(t, o, nil, Secret{Name: "salt", File: path, Check: strong})
		defer h.stop()
		h.expect("1")
		for n := 2; n < 5; n++ {
			renameOver(t, path, value(n))
			started := time.Now()
			if err := h.Reread(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(started); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
			h.mu.Lock()
			if got := shown(h.readings[len(h.readings)-1].Current); got != string(rune('0'+n)) {
				t.Errorf("after Reread the value is %s, want %d", got, n)
			}
			h.mu.Unlock()
		}
		// Nobody is told that it went well when it has not.
		write(t, path, "")
		var trouble Trouble
		if err := h.Reread(t.Context()); !errors.As(err, &trouble) || trouble.Why != Empty || !trouble.Kept {
			t.Errorf("Reread of an empty file: %v", err)
		}
	})
}

// A start can wait for what is there.
func TestRereadAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	synctest.Test(t, func(t *testing.T) {
		write(t, path, value(1))
		h := watch(t, pollOnly, map[string]string{"KEY": value(2)}, Secret{Name: "salt", File: path}, Secret{Name: "key", Variable: "KEY"})
		defer h.stop()
		if err := h.Reread(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.readings) != 2 {
			t.Errorf("there are %d readings", len(h.readings))
		}
	})
}

// Asking again does not make a half-written value settle sooner; and one that was
// replaced in between starts anew, even by its like.
func TestRereadDoesNotHurry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	synctest.Test(t, func(t *testing.T) {
		write(t, path, value(1))
		o := pollOnly
		o.Poll, o.Settle, o.Patience = 24*time.Hour, 5*time.Second, time.Minute
		h := watch(t, o, nil, Secret{Name: "salt", File: path})
		defer h.stop()
		h.expect("1")
		write(t, path, value(2)[:30])
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		for short.Err() == nil {
			_ = h.Reread(short)
		}
		renameOver(t, path, value(2)[:30])
		time.Sleep(4 * time.Second)
		write(t, path, value(2))
		h.expect("2")
		if last, want := h.last(), value(2); last != want {
			t.Errorf("%d of %d bytes were reported", len(last), len(want))
		}
	})
}

// A flood of requests with made-up version ids reads the files once a second,
// and each of them gets its answer.
func TestRereadIsSharedAndBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	synctest.Test(t, func(t *testing.T) {
		write(t, path, value(1))
		var looks atomic.Int64
		o := pollOnly
		o.Poll = 24 * time.Hour
		h := watch(t, o, nil, Secret{Name: "salt", File: path, Check: counting(&looks)})
		defer h.stop()
		h.expect("1")
		looks.Store(0)

		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for started := time.Now(); time.Since(started) < 10*time.Second; time.Sleep(time.Millisecond) {
					if err := h.Reread(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := looks.Load(); n < 10 || n > 12 {
			t.Errorf("10 s of flood read the files %d times", n)
		}
	})
}

// Who stops waiting, or asks too late, is told which.
func TestRereadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := watch(t, pollOnly, map[string]string{"SALT": value(1)}, Secret{Name: "salt", Variable: "SALT"})
		h.expect("1")
		if err := h.Reread(t.Context()); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := h.Reread(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second one within a second, which can't wait: %v", err)
		}
		late := make(chan error)
		go func() { late <- h.Reread(context.Background()) }()
		synctest.Wait()
		h.stop()
		if err := <-late; !errors.Is(err, ErrStopped) {
			t.Errorf("waiting when it stopped: %v", err)
		}
		if err := h.Reread(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("after it stopped: %v", err)
		}
		if err := h.Run(t.Context()); err == nil {
			t.Error("it ran twice")
		}
	})
}

// counting counts looks: each checks what it sees.
func counting(looks *atomic.Int64) func(secret.Value) error {
	return func(secret.Value) error { looks.Add(1); return nil }
}

package limit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/limit"
)

var questions = limit.Rates{Of: map[limit.Kind]limit.Rate{limit.Question: {Count: 60, Per: time.Minute}}}

// ask takes n for ada.
func ask(t *testing.T, l *limit.Limiter, n int) (wait time.Duration, ok bool) {
	t.Helper()
	return l.TakeUser(t.Context(), limit.Question, "main", "ada", n)
}

func TestAnAccountIsCountedByWhatItCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(questions, nil)
		if _, ok := ask(t, l, 50); !ok {
			t.Fatal("the first are refused")
		}
		if wait, ok := ask(t, l, 30); ok || wait != 20*time.Second {
			t.Errorf("30, of 10 that are left: %t, wait %v, want 20 s", ok, wait)
		}
		// Who was refused much may have little, and what was refused does not count.
		if _, ok := ask(t, l, 10); !ok {
			t.Error("10, of 10 that are left, are refused")
		}
		if wait, ok := ask(t, l, 30); ok || wait != 30*time.Second {
			t.Errorf("30, of none: %t, wait %v, want 30 s", ok, wait)
		}
		if wait, ok := ask(t, l, 1); ok || wait != time.Second {
			t.Errorf("one, of none: %t, wait %v, want 1 s", ok, wait)
		}
		if _, ok := ask(t, l, 0); !ok {
			t.Error("none are refused")
		}
		for _, other := range [][2]string{{"main", "grace"}, {"other", "ada"}, {"maina", "da"}} {
			if _, ok := l.TakeUser(t.Context(), limit.Question, other[0], other[1], 1); !ok {
				t.Errorf("%s pays for another", other)
			}
		}
		time.Sleep(30 * time.Second)
		if _, ok := ask(t, l, 30); !ok {
			t.Error("not allowed when it was told")
		}
	})
}

// What fits into no rate is allowed when there is all of it, or a page could never ask.
func TestMoreThanTheWholeRateIsTheWholeRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(questions, nil)
		if _, ok := ask(t, l, 500); !ok {
			t.Error("refused for ever")
		}
		if wait, ok := ask(t, l, 500); ok || wait != time.Minute {
			t.Errorf("at once again: %t, wait %v", ok, wait)
		}
	})
}

// What the others have used up is not counted here: who is refused by what replicas
// count together does not find himself refused by what one of them counts.
func TestWhatSharedCountersRefuseIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := limit.NewMemory()
		a, b := limit.New(questions, shared), limit.New(questions, shared)
		if _, ok := ask(t, b, 60); !ok {
			t.Fatal("the first are refused")
		}
		time.Sleep(10 * time.Second)
		for range 20 {
			if wait, ok := ask(t, a, 50); ok || wait != 40*time.Second {
				t.Fatalf("50, of 10: %t, wait %v, want 40 s", ok, wait)
			}
		}
		if _, ok := ask(t, a, 10); !ok {
			t.Error("10, of 10, are refused")
		}
	})
}

package authzen_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/threat"
)

// server is a decision point in memory that never answers some questions.
type server struct {
	mu    sync.Mutex
	hangs func(question string) bool
	asked int
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.asked++
	hangs := s.hangs
	s.mu.Unlock()
	if hangs != nil && hangs(string(body)) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewBufferString(`{"decision":true}`)), Request: r,
	}, nil
}

func (s *server) hang(when func(question string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = when
}

// times is how often it was asked since the last time.
func (s *server) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.asked
	s.asked = 0
	return n
}

const (
	failures = 5
	openFor  = 10 * time.Second
)

func (s *server) client(t *testing.T) *authzen.Client {
	t.Helper()
	c, err := authzen.New(authzen.Options{
		Evaluation: "http://pdp.example/evaluation", HTTP: &http.Client{Transport: s}, ProbeHTTP: &http.Client{Transport: s},
		Timeout: time.Second, Failures: failures, OpenFor: openFor,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask asks about a resource for somebody, and says whether it was allowed; took is how
// long that took.
func ask(t *testing.T, c *authzen.Client, who, resource string) (allowed bool, took time.Duration) {
	t.Helper()
	q := question
	q.Subject = authz.Entity{Type: "user", ID: who, Properties: map[string]any{"provider": "main", "sub": who}}
	q.Resource.ID = resource
	began := time.Now()
	d, err := c.Evaluate(t.Context(), q)
	if d.Allow == (err != nil) || err != nil && !errors.Is(err, authzen.ErrUnavailable) {
		t.Fatalf("%s, %s: %+v, %v", who, resource, d, err)
	}
	return d.Allow, time.Since(began)
}

func has(text string) func(string) bool {
	return func(question string) bool { return bytes.Contains([]byte(question), []byte(text)) }
}

func always(string) bool { return true }

// Who finds a question that takes the decision point too long is left without answers
// himself, and nobody else is.
func TestQuestionsThatHangAreHeldAgainstWhoAsksThem(t *testing.T) {
	threat.Covers(t, 48)
	synctest.Test(t, func(t *testing.T) {
		var s server
		c := s.client(t)
		s.hang(has("slow"))
		for range failures {
			if allowed, took := ask(t, c, "mallory", "slow"); allowed || took != time.Second {
				t.Fatalf("%v after %v", allowed, took)
			}
		}
		synctest.Wait()
		for i := range 3 {
			if allowed, took := ask(t, c, "ada", "7"); !allowed || took != 0 {
				t.Errorf("%d: another account is left without answers", i)
			}
			s.times()
			if allowed, took := ask(t, c, "mallory", "7"); allowed || took != 0 || s.times() != 0 {
				t.Errorf("%d: who asks what hangs goes on asking", i)
			}
		}
		// After a while he may try one; if that is no better, he waits again.
		time.Sleep(openFor + time.Second)
		if allowed, took := ask(t, c, "mallory", "slow"); allowed || took != time.Second {
			t.Errorf("he is not asked for again: %v after %v", allowed, took)
		}
		if allowed, took := ask(t, c, "mallory", "7"); allowed || took != 0 {
			t.Error("he goes on")
		}
		time.Sleep(openFor + time.Second)
		for range 2 {
			if allowed, _ := ask(t, c, "mallory", "7"); !allowed {
				t.Error("he is left without answers for good")
			}
		}
	})
}

// Nor do many accounts close it, that all ask what hangs.
func TestAccountsThatHangTogether(t *testing.T) {
	threat.Covers(t, 48)
	synctest.Test(t, func(t *testing.T) {
		var s server
		c := s.client(t)
		s.hang(has("slow"))
		for i := range 3 * failures {
			if allowed, _ := ask(t, c, "mallory-"+strconv.Itoa(i), "slow"); allowed {
				t.Fatal("allowed")
			}
		}
		synctest.Wait()
		if allowed, took := ask(t, c, "ada", "7"); !allowed || took != 0 {
			t.Error("another account is left without answers")
		}
	})
}

// A decision point that is away is left alone by all, also where one account alone has
// found that out; and is used again by itself.
func TestADecisionPointThatHangsIsLeftAloneByAll(t *testing.T) {
	threat.Covers(t, 48)
	for name, who := range map[string]func(i int) string{
		"one account":  func(int) string { return "service" },
		"each another": strconv.Itoa,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s server
				c := s.client(t)
				s.hang(always)
				for i := range failures {
					if allowed, _ := ask(t, c, who(i), "7"); allowed {
						t.Fatal("allowed")
					}
				}
				time.Sleep(time.Second) // as long as nobody of ours waits for an answer
				synctest.Wait()
				s.times()
				for i := range 20 {
					if allowed, took := ask(t, c, "other-"+strconv.Itoa(i), "7"); allowed || took != 0 {
						t.Fatalf("%v after %v", allowed, took)
					}
				}
				if n := s.times(); n != 0 {
					t.Errorf("it is asked %d times", n)
				}
				time.Sleep(openFor)
				if allowed, took := ask(t, c, "other", "7"); allowed || took != time.Second {
					t.Errorf("it is not tried again: %v after %v", allowed, took)
				}
				synctest.Wait()
				if allowed, took := ask(t, c, who(0), "7"); allowed || took != 0 {
					t.Error("it is not left alone again")
				}
				s.hang(nil)
				time.Sleep(openFor)
				for i := range 3 {
					if allowed, _ := ask(t, c, who(i), "7"); !allowed {
						t.Error("it is not used again")
					}
				}
			})
		})
	}
}

// The one who may try it when it was away does not keep it closed with what hangs.
func TestWhoTriesItFirst(t *testing.T) {
	threat.Covers(t, 48)
	synctest.Test(t, func(t *testing.T) {
		var s server
		c := s.client(t)
		s.hang(always)
		for range failures {
			ask(t, c, "ada", "7")
		}
		time.Sleep(time.Second)
		s.hang(has("slow"))
		time.Sleep(openFor)
		done := make(chan struct{})
		go func() {
			defer close(done)
			ask(t, c, "mallory", "slow")
		}()
		synctest.Wait() // it is on its way, and so is ours
		if allowed, took := ask(t, c, "ada", "7"); !allowed || took != 0 {
			t.Error("what hangs keeps it closed")
		}
		<-done
	})
}

// A defect on the way of a question of our own ends neither the process nor the wait.
func TestADefectInAQuestionOfOurOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s server
		c := s.client(t)
		s.hang(func(question string) bool {
			if has("keyway")(question) {
				panic("a defect")
			}
			return true
		})
		for range failures {
			ask(t, c, "ada", "7")
		}
		synctest.Wait()
		if allowed, took := ask(t, c, "grace", "7"); allowed || took != 0 {
			t.Errorf("it is not left alone: %v after %v", allowed, took)
		}
		s.hang(nil)
		time.Sleep(openFor)
		if allowed, _ := ask(t, c, "grace", "7"); !allowed {
			t.Error("it is not used again")
		}
	})
}

// What is remembered of who had a failure has a bound, whoever asks.
func TestManyAccountsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s server
		c := s.client(t)
		s.hang(has("slow"))
		var all sync.WaitGroup
		for i := range 3000 {
			all.Go(func() { ask(t, c, strconv.Itoa(i), "slow") })
		}
		all.Wait()
		synctest.Wait()
		if n := authzen.Accounts(c); n > 1000 {
			t.Errorf("%d are remembered", n)
		}
		if allowed, _ := ask(t, c, "ada", "7"); !allowed {
			t.Error("another account is left without answers")
		}
	})
}

package authzen_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/threat"
)

func client(t testing.TB, handler http.HandlerFunc, change func(*authzen.Options)) *authzen.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	o := authzen.Options{Evaluation: server.URL + "/access/v1/evaluation", Evaluations: server.URL + "/access/v1/evaluations", HTTP: server.Client(), ProbeHTTP: server.Client(), Timeout: time.Second}
	if change != nil {
		change(&o)
	}
	c, err := authzen.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var question = authz.Question{
	Subject: authz.Entity{Type: "user", ID: "ada"}, Action: authz.Action{Name: "read"}, Resource: authz.Entity{Type: "note", ID: "1"},
	Context: authz.Context{Time: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)},
}

func say(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, text)
}

func TestTheRequestIsAuthZENs(t *testing.T) {
	var got string
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(body)
		say(w, `{"decision":true}`)
	}, nil)
	d, err := c.Evaluate(t.Context(), question)
	want := `POST /access/v1/evaluation application/json {"subject":{"type":"user","id":"ada"},"action":{"name":"read"},"resource":{"type":"note","id":"1"},"context":{"time":"2026-11-23T00:00:00Z"}}`
	if err != nil || !d.Allow || got != want {
		t.Errorf("%+v, %v\ngot  %s\nwant %s", d, err, got, want)
	}
}

func TestSeveralAtOnce(t *testing.T) {
	var requests atomic.Int64
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		var asked struct {
			Evaluations []authz.Question
			Options     map[string]string
		}
		if json.NewDecoder(r.Body).Decode(&asked) != nil || asked.Options["evaluations_semantic"] != "execute_all" || len(asked.Evaluations) > authz.MaxBatch {
			w.WriteHeader(400)
			return
		}
		var answers []string
		for _, q := range asked.Evaluations {
			if q.Resource.ID == "1" {
				answers = append(answers, `{"decision":true}`)
			} else {
				answers = append(answers, `{"decision":false}`)
			}
		}
		say(w, `{"evaluations":[`+strings.Join(answers, ",")+`]}`)
	}, nil)
	qs := make([]authz.Question, 120)
	for i := range qs {
		qs[i] = question
		if i%2 == 1 {
			qs[i].Resource.ID = "2"
		}
	}
	all, err := c.EvaluateAll(t.Context(), qs)
	if err != nil || len(all) != len(qs) || requests.Load() != 3 {
		t.Fatalf("%d answers in %d requests, %v", len(all), requests.Load(), err)
	}
	for i, d := range all {
		if d.Allow != (i%2 == 0) {
			t.Fatalf("answer %d: %v", i, d.Allow)
		}
	}
}

// Whatever a decision point does but say true, nobody is let in.
func TestNoAnswerIsNoAllow(t *testing.T) {
	threat.Covers(t, 48)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for name, serve := range map[string]http.HandlerFunc{
		"false":   func(w http.ResponseWriter, _ *http.Request) { say(w, `{"decision":false}`) },
		"text":    func(w http.ResponseWriter, _ *http.Request) { say(w, `{"decision":"true"}`) },
		"null":    func(w http.ResponseWriter, _ *http.Request) { say(w, `{"decision":null}`) },
		"missing": func(w http.ResponseWriter, _ *http.Request) { say(w, `{}`) },
		"twice":   func(w http.ResponseWriter, _ *http.Request) { say(w, `{"decision":false,"decision":true}`) },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { say(w, `true`) },
		"HTML that says so": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `{"decision":true}`)
		},
		"no type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, `{"decision":true}`)
		},
		"201": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(201)
			_, _ = io.WriteString(w, `{"decision":true}`)
		},
		"400 with an allow": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"decision":true}`)
		},
		"401 with an allow": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(401)
			_, _ = io.WriteString(w, `{"decision":true}`)
		},
		"500 with an allow": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(500)
			_, _ = io.WriteString(w, `{"decision":true}`)
		},
		"redirect to an allow": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/yes" {
				say(w, `{"decision":true}`)
				return
			}
			http.Redirect(w, r, "/yes", http.StatusTemporaryRedirect)
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			say(w, `{"decision":true}`)
		},
		"a megabyte": func(w http.ResponseWriter, _ *http.Request) {
			say(w, `{"decision":true,"x":"`+strings.Repeat("x", 1<<20)+`"}`)
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or nobody sees that the client has gone
			select {
			case <-r.Context().Done():
			case <-hang:
			}
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, serve, func(o *authzen.Options) { o.Timeout = 200 * time.Millisecond })
			d, err := c.Evaluate(t.Context(), question)
			if d.Allow || (err == nil) != (name == "false") {
				t.Errorf("got %+v, %v", d, err)
			}
			if all, err := c.EvaluateAll(t.Context(), []authz.Question{question}); err == nil {
				t.Errorf("several: got %+v", all)
			}
		})
	}
}

func TestAskedAgainOnlyWhereNoAnswerCame(t *testing.T) {
	for status, want := range map[int]int64{500: 3, 503: 3, 429: 3, 400: 1, 403: 1, 404: 1, 302: 1} {
		var asked atomic.Int64
		c := client(t, func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); w.WriteHeader(status) }, func(o *authzen.Options) { o.Attempts = 3 })
		if d, err := c.Evaluate(t.Context(), question); err == nil || d.Allow {
			t.Errorf("%d: %+v", status, d)
		}
		if n := asked.Load(); n != want {
			t.Errorf("%d: asked %d times, want %d", status, n, want)
		}
	}
}

// A server that fails is left alone, tried once, and used again.
func TestABrokenServerIsLeftAlone(t *testing.T) {
	var asked atomic.Int64
	var fine atomic.Bool
	c := client(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if !fine.Load() {
			w.WriteHeader(503)
			return
		}
		say(w, `{"decision":true}`)
	}, func(o *authzen.Options) { o.Failures, o.OpenFor = 3, 50*time.Millisecond })
	for range 10 {
		if _, err := c.Evaluate(t.Context(), question); !errors.Is(err, authzen.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n < 3 || n > 5 { // a slow machine may have let it be tried again
		t.Errorf("asked %d times", n)
	}
	if _, err := c.Evaluate(t.Context(), question); err == nil || !strings.Contains(err.Error(), " for a while; the last time: status 503") {
		t.Errorf("why it is left alone is not said: %v", err)
	}
	fine.Store(true)
	deadline := time.Now().Add(5 * time.Second)
	for {
		d, err := c.Evaluate(t.Context(), question)
		if err == nil && d.Allow {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is not used again: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Without a token it was not asked, and so it is not told to be away.
func TestNoTokenIsNotTheDecisionPointsFault(t *testing.T) {
	c := client(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }, func(o *authzen.Options) {
		o.Credentials = func() []authzen.Credential {
			return []authzen.Credential{{Version: "v1", Authorization: func(context.Context) (string, error) { return "", errors.New("token endpoint: connection refused") }}}
		}
	})
	_, err := c.Evaluate(t.Context(), question)
	if !errors.Is(err, authzen.ErrUnavailable) || err.Error() != "no token for the decision point could be had: token endpoint: connection refused" {
		t.Errorf("got %v", err)
	}
}

// A question that a server fails at is one user's, and others ask what it can answer:
// who finds such a question must not lock everybody out. (OPA answers 500 where two
// rules conflict for one input.)
func TestAQuestionThatBreaksTheServerIsNotHeldAgainstIt(t *testing.T) {
	threat.Covers(t, 48)
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "poison") {
			w.WriteHeader(500)
			return
		}
		say(w, `{"decision":true}`)
	}, func(o *authzen.Options) { o.Failures, o.OpenFor, o.Attempts = 3, time.Hour, 2 })
	odd := question
	odd.Resource.ID = "poison"
	for range 10 {
		if d, err := c.Evaluate(t.Context(), odd); !errors.Is(err, authzen.ErrUnavailable) || d.Allow {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	if d, err := c.Evaluate(t.Context(), question); err != nil || !d.Allow {
		t.Errorf("another question: %+v, %v", d, err)
	}
}

type seen struct{ outcomes []string }

func (s *seen) PDPRequest(string, int, time.Duration) {}
func (s *seen) ClientAuth(version, outcome string) {
	s.outcomes = append(s.outcomes, version+" "+outcome)
}

func TestTheOtherLiveCredentialIsTried(t *testing.T) {
	known := "Bearer old"
	var told seen
	of := func(version string) authzen.Credential {
		return authzen.Credential{Version: version, Authorization: func(context.Context) (string, error) { return "Bearer " + version, nil }}
	}
	live := []authzen.Credential{of("new"), of("old")}
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != known {
			w.WriteHeader(401)
			return
		}
		say(w, `{"decision":true}`)
	}, func(o *authzen.Options) {
		o.Observer, o.Credentials = &told, func() []authzen.Credential { return live }
	})
	if d, err := c.Evaluate(t.Context(), question); err != nil || !d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
	known = "Bearer nobody's"
	if d, err := c.Evaluate(t.Context(), question); !errors.Is(err, authzen.ErrRefused) || d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
	if got, want := strings.Join(told.outcomes, ", "), "new refused, old accepted, new refused, old refused"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

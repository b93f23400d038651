package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/threat"
)

// One account's questions that the decision point never answers leave that account
// without answers, and the others with theirs; when it answers nobody, it is left alone,
// and it is used again by itself.
func TestQuestionsThatAreNeverAnswered(t *testing.T) {
	threat.Covers(t, 48)
	var hangs atomic.Pointer[string] // who has no answer: a part of the question
	var asked atomic.Int64
	hangs.Store(new("mallory"))
	pdp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		var q authz.Question
		if err := json.Unmarshal(body, &q); err != nil || strings.Contains(q.Subject.ID, *hangs.Load()) {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"decision":true}`)
	}))
	t.Cleanup(pdp.Close)
	a := openedWith(t, withPDP(t, env(t, nil), managed, "", "connection: {base_url: \""+pdp.URL+
		"\", timeout: 700ms}\nretry: {max_attempts: 1}\ncircuit_breaker: {failures: 3, open_for: 1s}\ncache: {max_size: 0}\n"))
	for range 5 {
		if ok, _ := may(t, a, "mallory"); ok {
			t.Fatal("allowed without an answer")
		}
		if ok, err := may(t, a, "ada"); !ok {
			t.Errorf("somebody else has none either: %v", err)
		}
	}
	if _, err := may(t, a, "mallory"); err == nil || strings.Contains(err.Error(), "mallory") {
		t.Errorf("got %v", err)
	}

	hangs.Store(new("")) // everybody
	deadline := time.Now().Add(20 * time.Second)
	for n := 0; ; n++ {
		before := asked.Load()
		ok, err := may(t, a, fmt.Sprint("somebody-", n))
		if ok {
			t.Fatal("allowed without an answer")
		}
		if err != nil && strings.Contains(err.Error(), "left alone") && asked.Load() == before {
			break // who has asked nothing yet is not waited for
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is not left alone: %v", err)
		}
	}

	hangs.Store(new("nobody at all"))
	for {
		ok, err := may(t, a, "ada")
		if ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is not used again: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Questions of many accounts that are never answered may hold every connection that
// there is to the decision point. Whether it is away for all is found out beside them,
// and so it is not left alone: who comes when there is a connection again has an answer.
func TestManyWhoseQuestionsAreNeverAnswered(t *testing.T) {
	threat.Covers(t, 48)
	const accounts = 8
	over, probed := make(chan struct{}), make(chan struct{}, 10)
	var hung sync.WaitGroup
	hung.Add(accounts)
	pdp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.Contains(string(body), "mallory-"):
			hung.Done()
			<-over
		case strings.Contains(string(body), `"type":"service"`):
			probed <- struct{}{}
		}
		_, _ = io.WriteString(w, `{"decision":true}`)
	}))
	t.Cleanup(pdp.Close)
	// What hangs does so for longer than the test takes, and were it left alone, it would
	// be for as long.
	a := openedWith(t, withPDP(t, env(t, nil), managed, "", "connection: {base_url: \""+pdp.URL+
		"\", timeout: 30s}\nretry: {max_attempts: 1}\ncircuit_breaker: {failures: 3, open_for: 10m}\ncache: {max_size: 0}\n"))
	remote := a.resources.authorizing.remote
	remote.transport.MaxConnsPerHost = accounts // else it takes 16 accounts that ask 16 questions each
	var all sync.WaitGroup
	for i := range accounts {
		all.Go(func() { _, _ = may(t, a, fmt.Sprint("mallory-", i)) })
	}
	defer all.Wait()
	end := sync.OnceFunc(func() { close(over) })
	defer end()
	hung.Wait()
	ada := authz.Entity{Type: "user", ID: "auth:account:main:ada", Properties: map[string]any{"provider": "main"}}
	for range 3 { // who has no time left to wait for a connection
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		q := authz.Question{Subject: ada, Action: authz.Action{Name: "read"}, Resource: authz.Entity{Type: "note", ID: "1"}}
		if d, err := remote.Evaluate(ctx, q); err == nil || d.Allow {
			t.Errorf("without a connection: %+v, %v", d, err)
		}
		cancel()
	}
	select {
	case <-probed:
	case <-time.After(patience):
		t.Fatal("whether it is away is asked behind the questions that hang")
	}
	end()
	if ok, err := may(t, a, "ada"); !ok {
		t.Errorf("nobody else has an answer: %v", err)
	}
}

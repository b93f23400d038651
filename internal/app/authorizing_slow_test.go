package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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

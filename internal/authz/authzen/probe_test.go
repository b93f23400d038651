package authzen_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/threat"
)

// Questions at which the server hangs may hold every connection that there is. Whether
// it answers others is found out all the same.
func TestProbeHasAConnectionOfItsOwn(t *testing.T) {
	threat.Covers(t, 48)
	hangs := make(chan struct{})
	var hung sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(strings.Builder)
		if err := r.Write(body); err == nil && strings.Contains(body.String(), "keyway") {
			say(w, `{"decision":false}`)
			return
		}
		hung.Done()
		<-hangs
	}))
	defer server.Close()
	defer close(hangs)
	transport := &http.Transport{MaxConnsPerHost: 2}
	defer transport.CloseIdleConnections()
	c, err := authzen.New(authzen.Options{Evaluation: server.URL, HTTP: &http.Client{Transport: transport}, Timeout: 20 * time.Second, Failures: 2, OpenFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	hung.Add(2)
	for range 2 {
		go c.Evaluate(t.Context(), authz.Question{Subject: authz.Entity{Type: "user", ID: "eve"}})
	}
	hung.Wait()
	if !authzen.Answers(c) {
		t.Error("the server is taken for one that is away")
	}
}

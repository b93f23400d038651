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
	// Nobody hands in the bare transport: there are spans around it.
	c, err := authzen.New(authzen.Options{
		Evaluation: server.URL, HTTP: &http.Client{Transport: wrapped{transport}}, ProbeHTTP: &http.Client{Transport: wrapped{authzen.ProbeTransport(transport)}},
		Timeout: 20 * time.Second, Failures: 2, OpenFor: time.Minute,
	})
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

type wrapped struct{ http.RoundTripper }

// Who wants the server to be left alone says how it is found out whether it is away.
func TestWithoutAProbeNobodyIsLeftAlone(t *testing.T) {
	if _, err := authzen.New(authzen.Options{Evaluation: "http://pdp.example/evaluation", HTTP: http.DefaultClient, Failures: 1}); err == nil {
		t.Error("took it")
	}
}

package demo

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// gateway stands for gateway and provider: it asks for a password, and serves notes to
// who has the cookie.
func gateway(t *testing.T, password string) (Ports, *atomic.Int64) {
	t.Helper()
	var notes atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /auth/login", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<form method="post" action="/signin?a=1&amp;b=2"><input type="hidden" name="tx" value="t&amp;x">`)
	})
	mux.HandleFunc("POST /signin", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("tx") != "t&x" || r.FormValue("b") != "2" || r.PostFormValue("password") != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "bff_session", Value: "s", Path: "/"})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /api/notes", func(_ http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("bff_session"); err == nil && c.Value == "s" {
			notes.Add(1)
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	at, _ := url.Parse(s.URL)
	port, _ := strconv.Atoi(at.Port())
	return Ports{Gateway: port}, &notes
}

func TestLoadReadsNotesUntilItIsStopped(t *testing.T) {
	ports, notes := gateway(t, "demo")
	l := NewLoad(ports)
	if l.Running() {
		t.Error("it runs before it was started")
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	defer l.Stop()
	if err := l.Start(); err != nil || !l.Running() { // once is enough
		t.Errorf("running %v, %v", l.Running(), err)
	}
	for end := time.Now().Add(20 * time.Second); notes.Load() < 20 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if notes.Load() < 20 {
		t.Errorf("%d notes read", notes.Load())
	}
	l.Stop()
	l.Stop()
	if l.Running() {
		t.Error("it runs after it was stopped")
	}
	if err := l.Start(); err != nil || !l.Running() {
		t.Errorf("again: %v", err)
	}
}

func TestLoadSaysWhyItCannotSignIn(t *testing.T) {
	ports, _ := gateway(t, "another")
	l := NewLoad(ports)
	if err := l.Start(); err == nil || !strings.Contains(err.Error(), "could not sign in") || l.Running() {
		t.Errorf("running %v, %v", l.Running(), err)
	}
	ports.Gateway = 1
	if err := NewLoad(ports).Start(); err == nil {
		t.Error("nobody is there, and it runs")
	}
}

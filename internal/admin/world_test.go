package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/rotation"
	"keyway/internal/secret"
)

var start = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

// fake is a Control with two secrets, which does as it is told.
type fake struct {
	mu        sync.Mutex
	asked     []Request
	rolled    []string
	rotations map[string]rotation.Rotation
	reads     int
	err       error
}

func newFake() *fake { return &fake{rotations: map[string]rotation.Rotation{}} }

var names = []string{"session-key", "client-secret"}

func (f *fake) known(asked []string) error {
	for _, name := range asked {
		if !slices.Contains(names, name) {
			return &UnknownSecretError{Name: name, Known: names}
		}
	}
	return nil
}

func (f *fake) Status(context.Context) (Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, next := 3, start.Add(time.Hour)
	return Status{
		Leader: "r1", Store: "Redis",
		Secrets: []SecretStatus{
			{Name: "session-key", Kind: "inward", Source: "managed", Active: "b", NextRotationAt: &next, Versions: []VersionStatus{
				{ID: "b", State: "active", CreatedAt: &start, ActivatedAt: &start},
				{ID: "a", State: "retiring", CreatedAt: &start, ActivatedAt: &start, RetiresAt: &next, Dependents: &n, Withdrawn: true, Compromised: true},
			}, Rotation: &rotation.Rotation{ID: "r", Secret: "session-key", StartedAt: start, EndedAt: start, Outcome: "active", Steps: []rotation.Step{{At: start, What: "made"}}}},
			{Name: "client-secret", Kind: "outward", Source: "handed_in", Active: "x", Waiting: "for the peer", Blocked: []string{"r2"}, Trouble: "t", Operator: "o"},
		},
		Replicas: []ReplicaStatus{{ID: "r1", Host: "h", SeenAt: start, StartedAt: start, Live: true, Lacks: []string{"session-key b"}}, {ID: "r2", Holds: map[string][]string{"session-key": {"b"}}, Issues: map[string]string{"session-key": "b"}}},
	}, f.err
}

func (f *fake) Plan(_ context.Context, asked []string, _ bool) ([]Plan, error) {
	if err := errors.Join(f.known(asked), f.err); err != nil {
		return nil, err
	}
	return []Plan{{Secret: "session-key", From: "b", Notices: []string{"nobody"}, Blocked: []string{"r2"}, EarliestAt: &start}, {Secret: "client-secret", Refused: "no new value is there"}}, nil
}

func (f *fake) Rotate(_ context.Context, r Request) ([]rotation.Rotation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.known(r.Secrets), f.err); err != nil {
		return nil, err
	}
	f.asked = append(f.asked, r)
	var started []rotation.Rotation
	for _, name := range r.Secrets {
		one := rotation.Rotation{ID: "id-" + name, Secret: name, AskedBy: r.By, Compromised: r.Compromised, StartedAt: start, NextAt: start, Waiting: "a while", Blocked: []string{"r2"}}
		f.rotations[one.ID] = one
		started = append(started, one)
	}
	return started, nil
}

func (f *fake) Rollback(_ context.Context, name, by string) (rotation.Rotation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.known([]string{name}); err != nil {
		return rotation.Rotation{}, err
	}
	if name == "client-secret" {
		return rotation.Rotation{}, &RefusedError{Secret: name, Why: "the previous version is retired", Cure: "Rotate instead."}
	}
	f.rolled = append(f.rolled, name)
	return rotation.Rotation{ID: "back", Secret: name, From: "b", To: "a", AskedBy: by, StartedAt: start, EndedAt: start, Outcome: "rolled_back"}, f.err
}

func (f *fake) Rotations(_ context.Context, ids []string) ([]rotation.Rotation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	var found []rotation.Rotation
	for _, id := range slices.Backward(ids) { // an order of its own
		if one, ok := f.rotations[id]; ok {
			found = append(found, one)
		}
	}
	return found, f.err
}

// set changes a record.
func (f *fake) set(id string, change func(*rotation.Rotation)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.rotations[id]
	one.ID = id
	change(&one)
	f.rotations[id] = one
}

func (f *fake) started() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

const goodToken = "correct-horse-battery-staple-0123456789"

// server serves h on a real loopback listener, and holds each answer against the
// OpenAPI document.
type server struct {
	*httptest.Server
	control *fake
}

func serve(t *testing.T, withToken bool) server {
	t.Helper()
	control := newFake()
	o := Options{Control: control, Loopback: true}
	if withToken {
		o.Token = func() (secret.Value, bool) { return secret.NewValue([]byte(goodToken)), true }
	}
	return serveOptions(t, o, control)
}

func serveOptions(t *testing.T, o Options, control *fake) server {
	t.Helper()
	s := server{httptest.NewServer(New(o)), control}
	t.Cleanup(s.Close)
	return s
}

type answer struct {
	*http.Response
	text string
}

// do asks. Headers are "Name: value"; Host is one of them.
func (s server) do(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		default:
			r.Header[http.CanonicalHeaderKey(name)] = append(r.Header[http.CanonicalHeaderKey(name)], value)
			if name == "Content-Type" {
				r.Header.Set(name, value)
			}
		}
	}
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{response, string(text)}
	conforms(t, method, r.URL.Path, a)
	return a
}

// want checks status and code.
func (a answer) want(t *testing.T, status int, parts ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("expected %d, found %d: %s", status, a.StatusCode, a.text)
	}
	for _, part := range parts {
		if !strings.Contains(a.text, part) {
			t.Errorf("expected %q in %s", part, a.text)
		}
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control: %q", a.Header.Get("Cache-Control"))
	}
}

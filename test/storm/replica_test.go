package storm

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/testkit/child"
	"keyway/test/e2e"
)

// replica is one of the gateways. Its process comes and goes.
type replica struct {
	name  string
	addr  string // host:port of the public side
	admin string // URL
	env   e2e.Env
	files *secretFiles
	log   string // path
	ready atomic.Bool

	mu      sync.Mutex
	process *child.Process
	starts  int
	died    int // starts that came to nothing
	downs   []span
}

// span is from when to when something was not there. A zero to: until now.
type span struct{ from, to time.Time }

func (s span) meets(from, to time.Time, grace time.Duration) bool {
	return !s.from.After(to) && (s.to.IsZero() || !from.After(s.to.Add(grace)))
}

func meets(spans []span, from, to time.Time, grace time.Duration) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.meets(from, to, grace) })
}

// start runs the program anew. What it prints goes to the replica's log.
func (p *replica) start(t testing.TB, binary string) {
	env := make([]string, 0, len(p.env))
	for name, value := range p.env {
		env = append(env, name+"="+value)
	}
	cmd := exec.Command("/bin/sh", "-c", `exec "$0" serve >>"$1" 2>&1`, binary, p.log)
	cmd.Env, cmd.Dir = env, filepath.Dir(p.log)
	process := child.Start(t, cmd)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = process
	p.starts++
}

// kill ends the process at once.
func (p *replica) kill() {
	p.mu.Lock()
	p.downs = append(p.downs, span{from: time.Now()})
	process := p.process
	p.mu.Unlock()
	p.ready.Store(false)
	process.Kill()
}

// back notes that the replica that was killed serves again.
func (p *replica) back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.downs); n > 0 && p.downs[n-1].to.IsZero() {
		p.downs[n-1].to = time.Now()
	}
}

// isDown reports whether it was killed and is not back yet.
func (p *replica) isDown() bool {
	now := time.Now()
	return p.wasDown(now, now)
}

func (p *replica) wasDown(from, to time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return meets(p.downs, from, to, 0)
}

// runs reports whether there is a process.
func (p *replica) runs() bool {
	p.mu.Lock()
	process := p.process
	p.mu.Unlock()
	select {
	case <-process.Done():
		return false
	default:
		return true
	}
}

func (p *replica) isReady() bool { return p.ready.Load() }

// probe asks for /health/ready.
func (p *replica) probe(client *http.Client) bool {
	resp, err := client.Get("http://" + p.addr + "/health/ready")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

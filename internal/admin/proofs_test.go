package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/audit"
	"keyway/internal/telemetry"
	"keyway/internal/verify"
)

// proofs are everything that is optional, in memory.
type proofs struct {
	mu      sync.Mutex
	asked   [][]string
	by      string
	report  *verify.Report
	lines   []string
	points  []telemetry.Point
	running bool
	err     error
	block   chan struct{} // not nil: Verify waits for it
}

func (p *proofs) Verify(ctx context.Context, secrets []string, by string) (verify.Report, error) {
	if p.block != nil {
		select {
		case <-p.block:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, secrets)
	p.by = by
	report := verify.Report{OK: true, At: start, Replica: "r1", Checks: []verify.Check{{ID: "jwks", Name: "published keys", OK: true, Saw: "2 keys", TookMS: 3}}}
	if p.err == nil {
		p.report = &report
	}
	return report, p.err
}

func (p *proofs) LastReport() (verify.Report, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.report == nil {
		return verify.Report{}, false
	}
	return *p.report, true
}

func (p *proofs) Audit(_ context.Context, from uint64, most int) (audit.Page, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := uint64(len(p.lines))
	page := audit.Page{Head: audit.Head{Seq: n, Hash: "h"}}
	if from == 0 {
		from = 1
		if n > uint64(most) {
			from = n - uint64(most) + 1
		}
	}
	page.First = from
	if from <= n {
		page.Lines = p.lines[from-1 : min(n, from-1+uint64(most))]
	}
	return page, p.err
}

func (p *proofs) append(lines ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, lines...)
}

func (p *proofs) Points(since time.Time) []telemetry.Point {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []telemetry.Point
	for _, one := range p.points {
		if one.At.After(since) {
			found = append(found, one)
		}
	}
	return found
}

func (p *proofs) Start() error  { return p.turn(true) }
func (p *proofs) Stop()         { _ = p.turn(false) }
func (p *proofs) Running() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.running }
func (p *proofs) turn(on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.running = on
	}
	return p.err
}

func serveProofs(t *testing.T, p *proofs) server {
	t.Helper()
	control := newFake()
	return serveOptions(t, Options{Control: control, Loopback: true, Verifier: p, Auditor: p, Charter: p, Load: p}, control)
}

func TestVerify(t *testing.T) {
	p := &proofs{}
	s := serveProofs(t, p)
	s.do(t, "GET", "/admin/v1/verify", "").want(t, 404, "keyway verify")
	s.do(t, "POST", "/admin/v1/verify", `{}`).want(t, 200, `"ok":true`, `"id":"jwks"`, `"took_ms":3`)
	s.do(t, "POST", "/admin/v1/verify", `{"secrets":["session-key"]}`).want(t, 200)
	s.do(t, "GET", "/admin/v1/verify", "").want(t, 200, `"replica":"r1"`)
	if p.by != "admin API, from this machine" {
		t.Errorf("asked by %q", p.by)
	}
	if len(p.asked) != 2 || len(p.asked[0]) != 0 || len(p.asked[1]) != 1 {
		t.Errorf("asked: %v", p.asked)
	}
	s.do(t, "POST", "/admin/v1/verify", `{"secrets":["a","a"]}`).want(t, 400, "twice")
	s.do(t, "POST", "/admin/v1/verify", `{"secret":"a"}`).want(t, 400, "unknown member")
	s.do(t, "POST", "/admin/v1/verify", `{}`, "Content-Type: text/plain").want(t, 415)
	p.err = errors.New("no account")
	s.do(t, "POST", "/admin/v1/verify", `{}`).want(t, 503, "no account")
}

// Checklists go to providers: a script that asks for hundreds does not send them.
func TestFewChecklistsAtOnce(t *testing.T) {
	p := &proofs{block: make(chan struct{})}
	s := serveProofs(t, p)
	var group sync.WaitGroup
	codes := make(chan int, maxVerifies+1)
	for range maxVerifies + 1 {
		group.Go(func() {
			r, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/admin/v1/verify", strings.NewReader("{}"))
			r.Header.Set("Content-Type", "application/json")
			answer, err := s.Client().Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
			codes <- answer.StatusCode
		})
	}
	if first := <-codes; first != 503 { // the one too many is answered while the others wait
		t.Errorf("found %d", first)
	}
	close(p.block)
	group.Wait()
	for range maxVerifies {
		if code := <-codes; code != 200 {
			t.Errorf("found %d", code)
		}
	}
}

func TestAudit(t *testing.T) {
	p := &proofs{lines: []string{`{"seq":1}`, `{"seq":2}`, `{"seq":3}`}}
	s := serveProofs(t, p)
	s.do(t, "GET", "/admin/v1/audit?from=2&most=1", "").want(t, 200, `"first":2,"lines":["{\"seq\":2}"]`, `"seq":3`)
	s.do(t, "GET", "/admin/v1/audit", "").want(t, 200, `"first":1`)
	s.do(t, "GET", "/admin/v1/audit?from=9", "").want(t, 200, `"lines":[]`)
	for _, query := range []string{"from=-1", "from=x", "most=0", "most=1001", "most=x", "from=%zz"} {
		s.do(t, "GET", "/admin/v1/audit?"+query, "").want(t, 400)
	}
}

func TestSeries(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	p := &proofs{points: []telemetry.Point{{At: now.Add(-time.Hour)}, {At: now.Add(-2 * time.Second), Good: 7, P99: 1.5}, {At: now.Add(-time.Second)}}}
	s := serveProofs(t, p)
	a := s.do(t, "GET", "/admin/v1/series", "")
	a.want(t, 200, `"good":7`, `"p99_ms":1.5`)
	if n := strings.Count(a.text, `"at"`); n != 2 {
		t.Errorf("points: %s", a.text)
	}
	s.do(t, "GET", "/admin/v1/series?since="+now.Format(time.RFC3339), "").want(t, 200, `"points":[]`)
	s.do(t, "GET", "/admin/v1/series?since=yesterday", "").want(t, 400)
}

func TestLoad(t *testing.T) {
	p := &proofs{}
	s := serveProofs(t, p)
	s.do(t, "GET", "/admin/v1/load", "").want(t, 200, `{"running":false}`)
	s.do(t, "POST", "/admin/v1/load", `{"running":true}`).want(t, 200, `{"running":true}`)
	s.do(t, "POST", "/admin/v1/load", `{"running":false}`).want(t, 200, `{"running":false}`)
	s.do(t, "POST", "/admin/v1/load", `{}`).want(t, 400)
	p.err = errors.New("nobody could sign in")
	s.do(t, "POST", "/admin/v1/load", `{"running":true}`).want(t, 503, "nobody could sign in")
}

func TestWhatIsNotThereSaysSo(t *testing.T) {
	s := serve(t, false)
	for _, path := range []string{"verify", "audit", "series", "load"} {
		s.do(t, "GET", "/admin/v1/"+path, "").want(t, 404, "this gateway has no")
	}
	s.do(t, "POST", "/admin/v1/verify", `{}`).want(t, 404)
	s.do(t, "POST", "/admin/v1/load", `{"running":true}`).want(t, 404)
}

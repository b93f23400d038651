package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/demo/idp/idptest"
)

// crowd is users at work in the demo, and what went wrong for them.
type crowd struct {
	base     string
	requests atomic.Int64
	rounds   atomic.Int64 // that a visitor has finished

	mu       sync.Mutex
	failures []string
}

func (c *crowd) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, fmt.Sprintf(format, args...))
}

// visitor is a browser that has signed in, with a page that is never reloaded.
type visitor struct {
	*idptest.Browser
	c    *crowd
	id   string // of the session, as the gateway tells it
	csrf string // fetched when the page was opened
	post int    // the status that a note of theirs is answered with
}

// ask sends one request, and wants one status.
func (v *visitor) ask(ctx context.Context, method, path string, body string, want int) ([]byte, bool) {
	r, err := http.NewRequestWithContext(ctx, method, v.c.base+path, strings.NewReader(body))
	if err != nil {
		v.c.fail("%v", err)
		return nil, false
	}
	if method != http.MethodGet {
		r.Header.Set("X-CSRF-Token", v.csrf)
		r.Header.Set("Content-Type", "application/json")
	}
	page, err := v.Do(r)
	v.c.requests.Add(1)
	if err != nil {
		v.c.fail("%s %s: %v", method, path, err)
		return nil, false
	}
	if page.Status != want {
		v.c.fail("%s %s: status %d, want %d: %.300s", method, path, page.Status, want, page.Body)
		return nil, false
	}
	return page.Body, true
}

// signedIn wants the session that the visitor began with.
func (v *visitor) signedIn(ctx context.Context) bool {
	body, ok := v.ask(ctx, "GET", "/auth/session", "", 200)
	if !ok {
		return false
	}
	var session struct {
		Authenticated bool   `json:"authenticated"`
		ID            string `json:"session_id"`
	}
	if err := json.Unmarshal(body, &session); err != nil || !session.Authenticated || v.id != "" && session.ID != v.id {
		v.c.fail("the session is lost: %v %.300s", err, body)
		return false
	}
	v.id = session.ID
	return true
}

// fetchCSRF is what a page does when it is opened.
func (v *visitor) fetchCSRF(ctx context.Context) bool {
	body, ok := v.ask(ctx, "GET", "/auth/csrf", "", 200)
	var answer struct {
		Token string `json:"csrf_token"`
	}
	if !ok || json.Unmarshal(body, &answer) != nil || answer.Token == "" {
		v.c.fail("no CSRF token in %.300s", body)
		return false
	}
	v.csrf = answer.Token
	return true
}

// arrive signs a user in, with a browser of its own.
func (c *crowd) arrive(ctx context.Context, user string) (*visitor, bool) {
	v := &visitor{Browser: idptest.NewBrowser(&http.Transport{}), c: c, post: http.StatusCreated}
	if user == "grace" {
		v.post = http.StatusForbidden // she only reads
	}
	page, err := v.SignIn(ctx, c.base+"/auth/login?return_to=/", user, "demo")
	c.requests.Add(3) // login, callback, page; those at the provider are not ours
	if err != nil || page.Status != 200 || page.URL.String() != c.base+"/" {
		c.fail("sign-in: %v, %+v", err, page)
		return nil, false
	}
	return v, v.signedIn(ctx)
}

// work is a user at a page that stays open: it reads, and writes with the CSRF
// token of the time when it was opened, as far as the policies let it.
func (v *visitor) work(ctx context.Context) {
	v.signedIn(ctx)
	v.ask(ctx, "GET", "/api/notes", "", 200)
	v.ask(ctx, "POST", "/api/notes", `{"text":"buy milk"}`, v.post)
	v.ask(ctx, "GET", "/api/echo", "", 200)
}

// serve is a machine at work.
func (c *crowd) serve(ctx context.Context, m *machine) { c.present(ctx, m, m.token, 200) }

// probe is a machine that presents what it should not. For that, the gateway has to ask
// the provider.
func (c *crowd) probe(ctx context.Context, m *machine) { c.present(ctx, m, unknown(), 401) }

// probing is how often that may be: of addresses with more than 120 refused tokens a
// minute none is looked at any more.
const probing = 600 * time.Millisecond

func (c *crowd) present(ctx context.Context, m *machine, token string, want int) {
	c.requests.Add(1)
	if status, _, err := m.call(ctx, "Authorization", "Bearer "+token); err != nil || status != want {
		c.fail("machine: status %d, %v, want %d", status, err, want)
	}
}

// again repeats f every now and then until ctx ends.
func (c *crowd) again(ctx context.Context, every time.Duration, f func()) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		f()
		c.rounds.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// watch reads a stream of events to its end, and counts them.
func (v *visitor) watch(events io.Reader, seen *atomic.Int64) {
	for lines := bufio.NewScanner(events); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data:") {
			seen.Add(1)
		}
	}
}

// settle waits until the crowd has gone round a few times more.
func (c *crowd) settle(t *testing.T) {
	t.Helper()
	until := c.rounds.Load() + 10
	eventually(t, "users go on working", func() bool { return c.rounds.Load() >= until })
}

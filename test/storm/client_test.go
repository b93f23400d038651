package storm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"keyway/internal/problem"
	"keyway/test/e2e"
)

const sessionCookie = "__Host-bff_session"

// browser is a user's browser: a jar, and no redirects by itself.
type browser struct {
	w      *world
	user   string
	jar    *e2e.Jar
	http   *http.Client
	signed time.Time // when it was signed in; zero: it is not
}

func (w *world) newBrowser(user string) *browser {
	jar := e2e.NewJar()
	return &browser{w: w, user: user, jar: jar, http: &http.Client{
		Jar: jar, Transport: w.transport, Timeout: 40 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is what came of a request.
type answer struct {
	kind, method, path string
	from, to           time.Time
	status             int
	header             http.Header
	body               string
	replica            string
	err                error
}

// verdict is what is to be made of an answer.
type verdict int

const (
	served verdict = iota // as it should be
	away                  // 503 while Redis is away
	cut                   // its replica was killed meanwhile
	over                  // the storm has ended
	wrong                 // what a user would see, and must not
	ended                 // worse: the session is gone
)

// ask sends a request, and judges what came. Good are the statuses that are as
// they should be.
func (b *browser) ask(ctx context.Context, kind, method, path, body string, good []int, headers ...string) (answer, verdict) {
	a := answer{kind: kind, method: method, path: path, from: time.Now()}
	b.send(ctx, &a, body, headers)
	a.to = time.Now()
	v := b.judge(ctx, &a, good)
	b.w.ledger.count(b, a, v)
	return a, v
}

func (b *browser) send(ctx context.Context, a *answer, body string, headers []string) {
	target := a.path
	if strings.HasPrefix(target, "/") {
		target = b.w.public + target
	}
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, a.method, target, content)
	if err != nil {
		a.err = err
		return
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if u, err := url.Parse(a.path); err == nil {
		a.path = u.Path // the query of a callback is nobody's business
	}
	resp, err := b.http.Do(req)
	if err != nil {
		a.err = err
		return
	}
	defer resp.Body.Close()
	a.status, a.header, a.replica = resp.StatusCode, resp.Header, resp.Header.Get(replicaHeader)
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	a.body, a.err = string(text), err
}

// borne are the 503s that Redis may cause: sessions can't be looked up, or a replica
// can't know what was issued meanwhile. The provider is there all the time.
var borne = map[string]bool{string(problem.StoreUnavailable): true, string(problem.KeysUnavailable): true}

// unavailable reports whether the answer is that nobody can know. The question of a
// server in front has it as 403: a server that asks knows no other way to deny.
func unavailable(a *answer) bool {
	return a.status == http.StatusServiceUnavailable || a.kind == kindVerify && a.status == http.StatusForbidden
}

func (b *browser) judge(ctx context.Context, a *answer, good []int) verdict {
	if ctx.Err() != nil && a.err != nil {
		return over
	}
	if a.header.Get(cutHeader) != "" || a.err != nil && b.w.wasDown(a.replica, a.from, a.to) {
		return cut
	}
	if a.err != nil {
		return wrong
	}
	if clears(a.header) && !b.signed.IsZero() && a.kind != kindSignOut {
		return ended
	}
	for _, status := range good {
		if a.status == status {
			return served
		}
	}
	switch {
	case unavailable(a) && borne[codeOf(a.body)] && b.w.wasAway(a.from, a.to):
		return away
	case a.status == http.StatusUnauthorized && !b.signed.IsZero():
		return ended
	}
	return wrong
}

// clears reports whether the response takes the session cookie away.
func clears(h http.Header) bool {
	for _, line := range h.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err == nil && c.Name == sessionCookie && (c.MaxAge < 0 || c.Value == "") {
			return true
		}
	}
	return false
}

func (a answer) String() string {
	what := fmt.Sprintf("%s %s from %s to %s at replica %s", a.method, a.path, clock(a.from), clock(a.to), a.replica)
	if a.err != nil {
		return what + ": " + a.err.Error()
	}
	return fmt.Sprintf("%s: %d %s\n  correlation id %s", what, a.status, oneLine(a.body), a.header.Get("X-Correlation-Id"))
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 400 {
		s = s[:400] + "…"
	}
	return s
}

// pause waits, and reports whether there is still something to do.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

var errStalled = errors.New("nothing came for too long")

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/threat"
)

// denialBound is how long a refusal may take: two tries of half a second and the
// pause between them, on a machine with too much to do.
const denialBound = 8 * time.Second

// replies are what a decision point may say that is no allow.
func replies() []reply {
	type header = map[string]string
	plain := func(name, document string) reply {
		return reply{name, 200, header{"Content-Type": "application/json"}, document}
	}
	yes := `{"decision":true}`
	status := func(code int) reply {
		return reply{fmt.Sprintf("status %d with an allow", code), code, header{"Content-Type": "application/json"}, yes}
	}
	all := []reply{
		plain("false", `{"decision":false}`),
		plain("a string", `{"decision":"true"}`),
		plain("null", `{"decision":null}`),
		plain("missing", `{}`),
		plain("a number", `{"decision":1}`),
		plain("a list", `{"decision":[true]}`),
		plain("an object", `{"decision":{"decision":true}}`),
		plain("in another spelling", `{"Decision":true}`),
		plain("twice, false first", `{"decision":false,"decision":true}`),
		plain("twice, both true", `{"decision":true,"decision":true}`),
		plain("twice, one escaped", `{"decision":true,"\u0064ecision":false}`),
		plain("a bare true", `true`),
		plain("in a list", `[{"decision":true}]`),
		plain("two documents", yes+yes),
		plain("cut", `{"decision":true`),
		plain("no JSON", `decision=true`),
		plain("nothing", ``),
		plain("True", `{"decision":True}`),
		plain("context that is no object", `{"decision":true,"context":"x"}`),
		plain("a result of OPA's own API", `{"result":{"decision":true}}`),
		plain("the answers to several questions", `{"evaluations":[{"decision":true}]}`),
		plain("endless nesting", `{"decision":true,"context":{"a":`+strings.Repeat("[", 30_000)+strings.Repeat("]", 30_000)+`}}`),
		{"as HTML", 200, header{"Content-Type": "text/html"}, yes},
		{"as problem", 200, header{"Content-Type": "application/problem+json"}, yes},
		{"of no type", 200, header{"Content-Type": ""}, yes},
		{"a redirect", 302, header{"Location": "/yes", "Content-Type": "application/json"}, yes},
		{"compressed, it says", 200, header{"Content-Type": "application/json", "Content-Encoding": "gzip"}, yes},
	}
	for _, code := range []int{201, 202, 203, 206, 307, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504} {
		all = append(all, status(code))
	}
	return append(all, reply{"status 204", 204, nil, ""})
}

type reply struct {
	name   string
	status int
	header map[string]string
	body   string
}

// Only the boolean true of an answer that is one lets anybody through.
func TestWhateverTheDecisionPointSays(t *testing.T) {
	t.Parallel()
	j := startJudge(t)
	w := decidedBy(t, pdpAt(j.URL, ""), idp.Options{}, Env{"LOG_LEVEL": "info"})
	b := w.enter(t, w.One)
	n := 0
	// fresh is a path about which nobody has been asked.
	fresh := func() string { n++; return fmt.Sprintf("/note/%d", n) }
	w.wantAllowed(t, b, fresh())

	for _, r := range replies() {
		t.Run(r.name, func(t *testing.T) {
			threat.Covers(t, 48)
			j.says(func(rw http.ResponseWriter, req *http.Request, q asked) {
				if req.URL.Path == "/yes" {
					always(`{"decision":true}`)(rw, req, q)
					return
				}
				for name, value := range r.header {
					if value == "" {
						rw.Header()[name] = nil
						continue
					}
					rw.Header().Set(name, value)
				}
				rw.WriteHeader(r.status)
				_, _ = io.WriteString(rw, r.body)
			})
			path := fresh()
			within(t, denialBound, func() { w.wantDenied(t, b, "GET", path, "") })
			// And it was no decision, unless it was one.
			j.says(always(`{"decision":true}`))
			if a := b.Get(t, path); (a.StatusCode == 200) == (r.name == "false") {
				t.Errorf("asked again: %s", a.Status)
			}
		})
	}
	w.wantAllowed(t, b, fresh())
	if !b.SignedIn(t) {
		t.Error("she has lost her session")
	}
}

func TestDecisionPointThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	j := startJudge(t)
	w := decidedBy(t, pdpAt(j.URL, ""), idp.Options{}, Env{"LOG_LEVEL": "info"})
	b := w.enter(t, w.One)
	w.wantAllowed(t, b, "/note/first")
	goroutinesBefore := goroutines(t, w.One)
	var sent atomic.Int64
	flood := func(rw http.ResponseWriter, r *http.Request, begin, more string) {
		rw.Header().Set("Content-Type", "application/json")
		chunk := []byte(strings.Repeat(more, 1<<16/len(more)))
		_, err := io.WriteString(rw, begin)
		for range 1 << 14 { // a gigabyte
			if err != nil {
				return
			}
			var n int
			n, err = rw.Write(chunk)
			sent.Add(int64(n))
		}
		_, _ = io.WriteString(rw, `"},"decision":true}`)
	}
	hijack := func(rw http.ResponseWriter, do func(c io.ReadWriteCloser)) {
		c, _, err := rw.(http.Hijacker).Hijack()
		if err == nil {
			do(c)
			_ = c.Close()
		}
	}
	for i, tc := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request, asked)
	}{
		{"hang", func(_ http.ResponseWriter, r *http.Request, _ asked) { <-r.Context().Done() }},
		{"hang after the head", func(rw http.ResponseWriter, r *http.Request, _ asked) {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(200)
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		}},
		{"hang after the decision", func(rw http.ResponseWriter, r *http.Request, _ asked) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `{"decision":true`)
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		}},
		{"a gigabyte", func(rw http.ResponseWriter, r *http.Request, _ asked) { flood(rw, r, `{"context":{"reason":"`, "x") }},
		{"a gigabyte of blanks", func(rw http.ResponseWriter, r *http.Request, _ asked) { flood(rw, r, ``, " ") }},
		{"hang up", func(rw http.ResponseWriter, _ *http.Request, _ asked) { hijack(rw, func(io.ReadWriteCloser) {}) }},
		{"endless headers", func(rw http.ResponseWriter, _ *http.Request, _ asked) {
			hijack(rw, func(c io.ReadWriteCloser) {
				_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
				line := bytes.Repeat([]byte("X-More: and more of it\r\n"), 1000)
				for range 1 << 15 {
					if err != nil {
						return
					}
					var n int
					n, err = c.Write(line)
					sent.Add(int64(n))
				}
			})
		}},
		{"another protocol", func(rw http.ResponseWriter, _ *http.Request, _ asked) {
			hijack(rw, func(c io.ReadWriteCloser) { _, _ = io.WriteString(c, "+OK {\"decision\":true}\r\n") })
		}},
		{"shorter than said", func(rw http.ResponseWriter, _ *http.Request, _ asked) {
			hijack(rw, func(c io.ReadWriteCloser) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{\"decision\":true}")
			})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			threat.Covers(t, 48)
			sent.Store(0)
			j.says(tc.answer)
			path := fmt.Sprintf("/note/late-%d", i)
			within(t, denialBound, func() { w.wantDenied(t, b, "GET", path, "") })
			if n := sent.Load(); n > 64<<20 {
				t.Errorf("%d MB were taken", n>>20)
			}
			// Who needs no decision is not held up by those who wait for one.
			within(t, denialBound, func() { wantStatus(t, b.Get(t, "/free"), 200) })
			j.says(always(`{"decision":true}`))
			w.wantAllowed(t, b, path)
		})
	}
	if !b.SignedIn(t) {
		t.Error("she has lost her session")
	}
	j.CloseClientConnections()
	wantNoMoreGoroutines(t, w.One, goroutinesBefore+12)
}

// What nobody has said anything about, nobody may; and nobody is asked.
func TestWhatIsNotMapped(t *testing.T) {
	t.Parallel()
	j := startJudge(t)
	w := decidedBy(t, pdpAt(j.URL, "body_bytes: 1000\n"), idp.Options{}, nil)
	b := w.enter(t, w.One)
	csrf := b.CSRF(t)
	threat.Covers(t, 48)
	w.wantDenied(t, b, "DELETE", "/note/1", "", "X-CSRF-Token", csrf)
	w.wantDenied(t, b, "GET", "/note/1?view=a&view=b", "") // which of the two?
	w.wantDenied(t, b, "GET", "/note/%2A", "")             // every note
	for name, body := range map[string]string{
		"twice":     `{"owner":"ada","owner":"grace"}`,
		"no JSON":   `owner=ada`,
		"two":       `{"owner":"ada"}{"owner":"grace"}`,
		"truncated": `{"owner":"ada"`,
	} {
		t.Log(name)
		w.wantDenied(t, b, "PUT", "/note/1", body, "X-CSRF-Token", csrf, "Content-Type", "application/json")
	}
	if q := j.questions(); len(q) != 0 {
		t.Errorf("it was asked %d questions: %s", len(q), q[0].raw)
	}
	// The body is read within a limit, and arrives as it was sent.
	a := b.Do(t, "PUT", "/note/1", `{"owner":"`+strings.Repeat("a", 1000)+`"}`, "X-CSRF-Token", csrf, "Content-Type", "application/json")
	wantStatus(t, a, http.StatusRequestEntityTooLarge)
	const body = ` { "owner" : "ada",  "text":"\u00e9" }` + "\n"
	a = b.Do(t, "PUT", "/note/1", body, "X-CSRF-Token", csrf, "Content-Type", "application/json; charset=utf-8")
	wantStatus(t, a, 200)
	if got := w.API.lastArrival(); got.Body != body || got.Header.Get("Content-Length") != "" && got.Header.Get("Content-Length") != fmt.Sprint(len(body)) {
		t.Errorf("the upstream got %q", got.Body)
	}
	if q := j.questions(); len(q) != 1 || q[0].Resource.Properties["owner"] != "ada" || q[0].Action.Name != "update" {
		t.Errorf("questions: %+v", q)
	}
}

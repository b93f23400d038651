package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/threat"
)

// claimSaid has the provider say a claim of everybody, in the ID token of a sign-in
// and of a refresh, and at UserInfo.
func claimSaid(name string, value *atomic.Value) *idp.Hooks {
	return &idp.Hooks{
		IDToken: func(t *idp.JWT) { t.Claims[name] = value.Load() },
		Userinfo: func(_ *http.Request, a *idp.Answer) {
			if a.Status == http.StatusOK || a.Status == 0 {
				a.Edit(func(m map[string]any) { m[name] = value.Load() })
			}
		},
	}
}

// Roles that change at a refresh make another question, whatever was answered before;
// and a stream that was open ends.
func TestClaimsChangeAtRefresh(t *testing.T) {
	t.Parallel()
	var roles atomic.Value
	roles.Store(json.RawMessage(`["editor"]`))
	j := startJudge(t)
	j.says(byRole("editor"))
	w := decidedBy(t, pdpAt(j.URL, "cache: {ttl_allow: 1h, ttl_deny: 1h}\n"), idp.Options{
		AccessTokenLifetime: 2 * time.Second, KeepRefreshTokens: true, ClaimsInIDToken: true, Hooks: claimSaid("roles", &roles),
	}, nil)
	b := w.enter(t, w.One)
	wantStatus(t, b.Get(t, "/note/1"), 200)
	j.questions()
	wantStatus(t, b.Get(t, "/note/1"), 200)
	if q := j.questions(); len(q) != 0 {
		t.Errorf("nothing has changed, and it was asked again: %s", q[0].raw)
	}

	t.Run("roles taken", func(t *testing.T) {
		threat.Covers(t, 49)
		roles.Store(json.RawMessage(`["viewer"]`))
		eventually(t, "the cached allow is of no use", func() bool { return b.Get(t, "/note/1").StatusCode == 403 })
		if !b.SignedIn(t) {
			t.Error("she has lost her session with her role")
		}
		if q := j.questions(); len(q) == 0 || !slices.Equal(q[len(q)-1].Subject.Properties["roles"].([]any), []any{"viewer"}) {
			t.Errorf("questions: %v", q)
		}
	})
	t.Run("roles given", func(t *testing.T) {
		threat.Covers(t, 49)
		roles.Store(json.RawMessage(`["viewer","editor"]`))
		eventually(t, "the cached deny is of no use", func() bool { return b.Get(t, "/note/1").StatusCode == 200 })
	})
	t.Run("open stream", func(t *testing.T) {
		threat.Covers(t, 49)
		resp := b.Open(t, "/ticks")
		defer resp.Body.Close()
		wantTick(t, resp)
		roles.Store(json.RawMessage(`[]`))
		// Somebody's request has the session renewed; the stream is told.
		eventually(t, "her roles are gone", func() bool { return b.Get(t, "/note/1").StatusCode == 403 })
		wantEnd(t, resp, 5*time.Second)
		w.wantDenied(t, b, "GET", "/ticks", "")
	})
}

// wantTick waits until something comes of a stream.
func wantTick(t testing.TB, resp *http.Response) {
	t.Helper()
	wantStatus(t, Answer{resp, ""}, 200)
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatalf("the stream: %v", err)
	}
}

// wantEnd waits until a stream ends.
func wantEnd(t testing.TB, resp *http.Response, within time.Duration) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 4096)
		for {
			if _, err := resp.Body.Read(buffer); err != nil {
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-time.After(within):
		t.Errorf("the stream goes on after %v", within)
	}
}

// Whatever a provider puts into claims, they grant what they say and nothing else,
// and get to the decision point as JSON.
func TestClaimShapes(t *testing.T) {
	t.Parallel()
	var roles atomic.Value
	roles.Store(json.RawMessage(`[]`))
	j := startJudge(t)
	j.says(byRole("editor"))
	w := decidedBy(t, pdpAt(j.URL, ""), idp.Options{ClaimsInIDToken: true, Hooks: claimSaid("roles", &roles)}, nil)
	for _, tc := range []struct {
		name, roles string
		may         bool
	}{
		{"a list", `["viewer","editor"]`, true},
		{"one value", `"editor"`, true},
		{"none", `[]`, false},
		{"null", `null`, false},
		{"a list in a list", `[["editor"]]`, false},
		{"an object", `{"editor":true}`, false},
		{"objects", `[{"name":"editor"}]`, false},
		{"a number", `7`, false},
		{"true", `true`, false},
		{"joined by a comma", `"viewer,editor"`, false},
		{"joined by a blank", `"viewer editor"`, false},
		{"another case", `["Editor"]`, false},
		{"with blanks", `[" editor "]`, false},
		{"with a line break", `["viewer\r\nX-User-Roles: editor"]`, false},
		{"with NUL", `["editor\u0000"]`, false},
		{"full width", `["ｅｄｉｔｏｒ"]`, false},
		{"with a joiner", `["edit\u200dor"]`, false},
		{"that closes a string", `["\"],\"roles\":[\"editor\""]`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			threat.Covers(t, 50)
			roles.Store(json.RawMessage(tc.roles))
			b := w.browser(w.One)
			a := b.SignIn(t, "ada", "/note/1")
			if a.StatusCode != 303 {
				if tc.may {
					t.Fatalf("she can't sign in: %s %s", a.Status, a.Text)
				}
				return // refused altogether
			}
			j.questions()
			a = b.Get(t, "/note/1")
			if (a.StatusCode == 200) != tc.may || a.StatusCode != 200 && a.StatusCode != 403 {
				t.Errorf("%s: %s", a.Status, a.Text)
			}
			for _, q := range j.questions() {
				if bytes := string(q.raw); strings.ContainsAny(bytes, "\r\n\x00") {
					t.Errorf("the question has what is no JSON: %q", bytes)
				}
				for name, values := range q.header {
					if strings.Contains(fmt.Sprint(name, values), "ditor") {
						t.Errorf("a header with a role: %s: %q", name, values)
					}
				}
			}
		})
	}
}

package e2e

import (
	"bufio"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// newNote is a note as the demo's page posts it.
func newNote(t testing.TB, b *Browser) Answer {
	t.Helper()
	return b.Do(t, "POST", "/api/notes", `{"text":"buy milk"}`, "Content-Type", "application/json", "X-CSRF-Token", b.CSRF(t))
}

// may are the actions that a page is told to offer.
func may(t testing.TB, b *Browser, resource string) []string {
	t.Helper()
	a := b.Get(t, "/auth/capabilities?resource="+resource)
	wantStatus(t, a, 200)
	actions := []string{}
	for _, one := range a.JSON(t)["actions"].([]any) {
		actions = append(actions, one.(string))
	}
	return actions
}

// What the demo promises of its two users and its machine: ada reads and writes, grace
// reads, and the machine counts.
func TestWhoMayDoWhatInTheDemo(t *testing.T) {
	demo := startDemo(t)
	ada, grace := NewBrowser(demo.URL), NewBrowser(demo.URL)
	ada.SignIn(t, "ada", "/")
	grace.SignIn(t, "grace", "/")

	t.Run("ada", func(t *testing.T) {
		callAPI(t, ada)
		readTicks(t, ada, 1)
		wantStatus(t, ada.Get(t, "/api/echo"), 200)
		if got := may(t, ada, "note"); !slices.Equal(got, []string{"create", "read"}) {
			t.Errorf("told to offer %v", got)
		}
	})
	t.Run("grace", func(t *testing.T) {
		wantStatus(t, grace.Get(t, "/api/notes"), 200)
		readTicks(t, grace, 1)
		wantStatus(t, grace.Get(t, "/api/echo"), 200)
		refused := newNote(t, grace)
		wantProblem(t, refused, 403, "forbidden")
		// Why is for the log: whoever probes learns nothing of roles and policies.
		if regexp.MustCompile(`(?i)polic|role|editor|viewer|permit|create`).MatchString(refused.Text) {
			t.Errorf("the answer says why: %s", refused.Text)
		}
		wantProblem(t, grace.Do(t, "POST", "/api/notes", `{"text":"x"}`, "Content-Type", "application/json"), 403, "csrf_failed")
		if a := grace.Get(t, "/api/notes"); strings.Contains(a.Text, "milk") {
			t.Errorf("what was refused has happened: %s", a.Text)
		}
		for resource, want := range map[string][]string{"note": {"read"}, "ticks": {"read"}, "unheard-of": {}} {
			if got := may(t, grace, resource); !slices.Equal(got, want) {
				t.Errorf("%s: told to offer %v, want %v", resource, got, want)
			}
		}
	})
	t.Run("a page that asks by itself", func(t *testing.T) {
		const questions = `{"resource":{"type":"note","id":"*"},"evaluations":[{"action":{"name":"read"}},{"action":{"name":"create"}}]}`
		a := grace.Do(t, "POST", "/access/v1/evaluations", questions, "Content-Type", "application/json", "X-CSRF-Token", grace.CSRF(t))
		wantStatus(t, a, 200)
		if got := strings.Join(strings.Fields(a.Text), ""); got != `{"evaluations":[{"decision":true},{"decision":false}]}` {
			t.Errorf("answered %s", a.Text)
		}
	})
	t.Run("the machine", func(t *testing.T) {
		m := newMachine(t, demo)
		if status, _, err := m.call(t.Context(), "Authorization", "Bearer "+m.token); err != nil || status != 200 {
			t.Errorf("status %d, %v", status, err)
		}
		stranger := NewBrowser(demo.URL)
		for _, path := range []string{"/api/notes", "/api/ticks", "/auth/capabilities?resource=note"} {
			wantStatus(t, stranger.Get(t, path, "Authorization", "Bearer "+m.token), 401)
		}
	})
	t.Run("what was refused is said in the log", func(t *testing.T) {
		eventually(t, "it says why", func() bool { return strings.Contains(demo.Output(), "no policy permits") })
	})
}

// policiesFolder is where the demo says that its policies are.
func policiesFolder(t testing.TB, demo *Process) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^  Who may do what +(/\S+):`).FindStringSubmatch(demo.Output())
	if found == nil {
		t.Fatalf("it does not say where its policies are:\n%s", demo.Output())
	}
	return found[1]
}

// Somebody tries out what the demo's terminal offers: to change the policies while
// people are signed in.
func TestPoliciesOfTheDemoAreChanged(t *testing.T) {
	demo := startDemo(t)
	ada, grace := NewBrowser(demo.URL), NewBrowser(demo.URL)
	ada.SignIn(t, "ada", "/")
	grace.SignIn(t, "grace", "/")
	file := filepath.Join(policiesFolder(t, demo), "notes.cedar")
	delivered, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	save := func(text string) {
		t.Helper()
		next := file + ".next" // as editors do: the folder is never without it
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
	}
	wantStatus(t, newNote(t, grace), 403)
	save(strings.Replace(string(delivered), `role::"editor",`, `role::"viewer",`, 1))
	eventually(t, "viewers write", func() bool { return newNote(t, grace).StatusCode == 201 })
	wantStatus(t, newNote(t, ada), 403) // she is an editor, and no viewer
	if got := may(t, grace, "note"); !slices.Equal(got, []string{"create", "read"}) {
		t.Errorf("a page is told to offer %v", got)
	}

	save(strings.Replace(string(delivered), `Action::"create"`, `Action::"craete"`, 1))
	eventually(t, "a mistake is told", func() bool { return strings.Contains(demo.Output(), "craete") })
	wantStatus(t, newNote(t, grace), 201) // those before stay in use

	save(string(delivered))
	eventually(t, "as it was delivered", func() bool { return newNote(t, ada).StatusCode == 201 })
	wantStatus(t, newNote(t, grace), 403)
	eventually(t, "that it is well again is told", func() bool { return strings.Contains(demo.Output(), "the policies can be used again") })
	for line := range strings.Lines(demo.Output()) {
		if strings.Contains(line, "craete") && strings.Contains(line, `\"`) {
			t.Errorf("the mistake is told in escapes: %s", line)
		}
	}

	t.Run("a stream that is open", func(t *testing.T) {
		watched := map[*Browser]*bufio.Scanner{}
		for _, b := range []*Browser{ada, grace} {
			stream := b.Open(t, "/api/ticks", "Accept", "text/event-stream")
			defer stream.Body.Close()
			if stream.StatusCode != http.StatusOK {
				t.Fatalf("ticks: %s", stream.Status)
			}
			watched[b] = bufio.NewScanner(stream.Body)
		}
		save(string(delivered) + `forbid (principal in role::"viewer", action, resource is ticks);`)
		for watched[grace].Scan() { // it ends, or the test does not
		}
		wantProblem(t, grace.Get(t, "/api/ticks"), 403, "forbidden")
		for n := 0; n < 3; {
			if !watched[ada].Scan() {
				t.Fatalf("ada's stream has ended, too: %v", watched[ada].Err())
			}
			if strings.HasPrefix(watched[ada].Text(), "data:") {
				n++
			}
		}
	})
	t.Run("all of them are gone", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Dir(file)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is told", func() bool { return strings.Contains(demo.Output(), "the policies can't be read") })
		wantStatus(t, newNote(t, ada), 201) // by those that were read last
	})
}

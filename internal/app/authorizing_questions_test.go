package app

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/audit"
	"keyway/internal/authz"
	"keyway/internal/config"
)

// onlyTheFirst lets everybody read note 1.
func onlyTheFirst(t *testing.T) (pdp string) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "p.cedar"), []byte("@id(\"first\")\npermit(principal, action == Action::\"read\", resource == note::\"1\");\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "policies: " + folder + "\ncache: {ttl_allow: 1h, ttl_deny: 1h}\n"
}

// decisionsIn are the events of decisions among those that a receiver got.
func decisionsIn(events []string) (all []string) {
	for _, event := range events {
		if strings.Contains(event, audit.TypeDecision) {
			all = append(all, event)
		}
	}
	return all
}

// What a page asks is told once for each answer, as what it is; it is counted apart
// from requests, whose denials people are woken by; and it ends at the limit.
func TestWhatAPageAsksIsToldCountedAndLimited(t *testing.T) {
	sink, got := receiver(t)
	w := startDecided(t, onlyTheFirst(t), "audit: {push: {url: \""+sink+"\", audience: test}}\nlimits: {rates: {questions: 4/1h}}\n", nil)
	w.signIn(t, "ada")
	const about = "/auth/capabilities?resource=note&id="
	for _, c := range []struct{ path, want string }{
		{about + "1", `{"resource":"note","id":"1","actions":["read"]}`},
		{about + "2", `{"resource":"note","id":"2","actions":[]}`},
		{about + "2", `{"resource":"note","id":"2","actions":[]}`},
		{about + "3", `{"resource":"note","id":"3","actions":[]}`},
	} {
		if body := w.get(t, c.path, 200); strings.TrimSpace(body) != c.want {
			t.Errorf("%s: %s", c.path, body)
		}
	}
	if body := w.get(t, about+"1", 429); !strings.Contains(body, `"too_many_requests"`) {
		t.Errorf("beyond the limit: %s", body)
	}
	w.get(t, "/notes/1", 200)
	w.get(t, "/notes/2", 403)
	until(t, "five are told", func() bool { return len(decisionsIn(got())) == 5 })
	for i, want := range [][]string{
		{`"kind":"question"`, `"decision":"allow"`, `"id":"1"`, `"resource":"note"`, `"action":"read"`, `"principal":"auth:account:`, `"reason":"permitted by first"`},
		{`"kind":"question"`, `"decision":"deny"`, `"id":"2"`},
		{`"kind":"question"`, `"decision":"deny"`, `"id":"3"`},
		{`"kind":"call"`, `"decision":"allow"`, `"id":"1"`, `"route":"note"`, `"cached":true`},
		{`"kind":"call"`, `"decision":"deny"`, `"id":"2"`, `"cached":true`},
	} {
		for _, part := range want {
			if event := decisionsIn(got())[i]; !strings.Contains(event, part) {
				t.Errorf("%d: no %s in %s", i, part, event)
			}
		}
	}
	_, text := get(client(t), w.gateway.Admin+"/metrics")
	for _, want := range []string{
		`bff_authz_questions_total{decision="allow"} 1`, `bff_authz_questions_total{decision="deny"} 3`, `bff_authz_questions_total{decision="error"} 0`,
		`bff_authz_requests_total{action="read",decision="deny",resource="note"} 1`, `bff_authz_latency_seconds_count{resource="note"} 2`,
		`bff_rate_limited_total{kind="question"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("expected %s", want)
		}
	}
}

// Who reads events can tell what came of a decision.
func TestWhichDecisionsAreTold(t *testing.T) {
	for _, c := range []struct {
		event                   authz.Event
		kind                    audit.DecisionKind
		all, onlyDenied, nobody bool
	}{
		{authz.Event{Decision: authz.Allowed}, "call", true, false, false},
		{authz.Event{Decision: authz.Allowed, Cached: true}, "call", true, false, false},
		{authz.Event{Decision: authz.Denied, Cached: true}, "call", true, true, false},
		{authz.Event{Decision: authz.NoAnswer}, "call", true, true, false},
		{authz.Event{Decision: authz.Denied, Again: true}, "stream", true, true, false},
		{authz.Event{Decision: authz.Allowed, Asked: true}, "question", true, false, false},
		{authz.Event{Decision: authz.Denied, Asked: true}, "question", true, false, false},
		{authz.Event{Decision: authz.NoAnswer, Asked: true}, "question", true, false, false},
		{authz.Event{Decision: authz.Denied, Asked: true, Cached: true}, "question", false, false, false},
	} {
		if got := kindOf(&c.event); got != c.kind {
			t.Errorf("%+v: %s, want %s", c.event, got, c.kind)
		}
		for events, want := range map[config.AuthzEvents]bool{config.AuthzEventsAll: c.all, config.AuthzEventsDenied: c.onlyDenied, config.AuthzEventsOff: c.nobody} {
			if got := toBeTold(&c.event, events); got != want {
				t.Errorf("%+v, %s: told %t", c.event, events, got)
			}
		}
	}
}

// What a policy looks at and no mapping can know, the page says.
func TestAPageGivesWhatAPolicyLooksAt(t *testing.T) {
	folder := t.TempDir()
	policy := "permit(principal, action == Action::\"read\", resource is note) when { resource.folder == \"public\" && resource.pages < 5 };\n"
	if err := os.WriteFile(filepath.Join(folder, "p.cedar"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	w := startDecided(t, "policies: "+folder+"\n", "", nil)
	w.signIn(t, "ada")
	for props, want := range map[string]string{
		"": `[]`, `{"folder":"public"}`: `[]`, `{"folder":"public","pages":4}`: `["read"]`, `{"folder":"public","pages":"4"}`: `[]`, `{"folder":"own","pages":4}`: `[]`,
	} {
		path := "/auth/capabilities?resource=note"
		if props != "" {
			path += "&props=" + url.QueryEscape(props)
		}
		if body := w.get(t, path, 200); !strings.Contains(body, `"actions":`+want) {
			t.Errorf("%s: %s, want %s", props, body, want)
		}
	}
}

// Who wants denials wants to know of what was refused, and not of hidden buttons.
func TestAHiddenButtonIsNoDenial(t *testing.T) {
	sink, got := receiver(t)
	w := startDecided(t, onlyTheFirst(t), "authz: {events: denied}\naudit: {push: {url: \""+sink+"\", audience: test}}\n", nil)
	w.signIn(t, "ada")
	for _, id := range []string{"1", "2", "3"} {
		w.get(t, "/auth/capabilities?resource=note&id="+id, 200)
	}
	w.get(t, "/notes/9", 403)
	if err := w.gateway.stop(t); err != nil { // tells all that there is
		t.Error(err)
	}
	if all := decisionsIn(got()); len(all) != 1 || !strings.Contains(all[0], `"id":"9"`) {
		t.Errorf("told %v", all)
	}
}

package opa

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

const policy = `package authzen

evaluation := {"decision": allowed(input)}

evaluations := {"evaluations": [{"decision": allowed(question)} | some question in input.evaluations]}

default allowed(_) := false

allowed(question) if "reader" in question.subject.properties.roles
`

func post(t *testing.T, url, body, authorization string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Content-Type") + " " + strings.TrimSpace(string(text))
}

const (
	reader = `{"subject":{"type":"user","id":"a","properties":{"roles":["reader"]}},"action":{"name":"read"},"resource":{"type":"note","id":"1"}}`
	nobody = `{"subject":{"type":"user","id":"b","properties":{"roles":[]}},"action":{"name":"read"},"resource":{"type":"note","id":"1"}}`
)

func TestItSpeaksAuthZEN(t *testing.T) {
	s := Start(t, map[string]string{"policy.rego": policy})
	for _, tc := range []struct{ path, body, want string }{
		{Evaluation, reader, `application/json {"decision":true}`},
		{Evaluation, nobody, `application/json {"decision":false}`},
		{Evaluations, `{"evaluations":[` + reader + `,` + nobody + `]}`, `application/json {"evaluations":[{"decision":true},{"decision":false}]}`},
	} {
		if code, got := post(t, s.URL()+tc.path, tc.body, ""); code != 200 || got != tc.want {
			t.Errorf("%s: %d %s, want %s", tc.path, code, got, tc.want)
		}
	}
	s.Restart()
	if code, got := post(t, s.URL()+Evaluation, reader, ""); code != 200 {
		t.Errorf("after a restart: %d %s", code, got)
	}
	if all := s.Inputs(t, 1); len(all) != 1 || all[0]["action"].(map[string]any)["name"] != "read" {
		t.Errorf("questions that it says it was asked since: %v", all)
	}
	s.Kill()
	if code, _ := post(t, s.URL()+Evaluation, reader, ""); code != 0 {
		t.Errorf("killed, and it answers %d", code)
	}
}

func TestItAsksForAToken(t *testing.T) {
	s := Start(t, map[string]string{
		"policy.rego": policy,
		"who.rego":    "package system.authz\n\ndefault allow := false\n\nallow if input.identity == \"the-token\"\n",
	}, "--authentication=token", "--authorization=basic")
	for authorization, want := range map[string]int{"": 401, "Bearer another": 401, "Bearer the-token": 200} {
		if code, got := post(t, s.URL()+Evaluation, reader, authorization); code != want {
			t.Errorf("%q: %d %s, want %d", authorization, code, got, want)
		}
	}
}

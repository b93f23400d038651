package interop

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"keyway/internal/authz"
	"keyway/internal/authz/cedar"
	"keyway/internal/testkit/opa"
)

// The policies decide the published questions as published: what a gateway is later
// told by them is not for the lack of it.

// regoFiles is what OPA is started with: the policy, and who the five are.
func regoFiles(t *testing.T) map[string]string {
	t.Helper()
	users := map[string]any{}
	for _, p := range people {
		users[p.sub] = map[string]any{"email": p.email, "name": p.name, "roles": p.roles}
	}
	data, err := json.Marshal(map[string]any{"users": users})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := os.ReadFile(filepath.Join("testdata", "policy.rego"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"policy.rego": string(policy), "data.json": string(data)}
}

// payload is the published request for a call.
func (c call) payload(subjectType string, who person) map[string]any {
	resource := map[string]any{"type": c.resource.Type, "id": c.resource.ID}
	if c.resource.Properties != nil {
		resource["properties"] = c.resource.Properties
	}
	return map[string]any{
		"subject": map[string]any{"type": subjectType, "id": who.sub}, "action": map[string]any{"name": c.action}, "resource": resource,
	}
}

func TestOPADecidesThePublishedPayloads(t *testing.T) {
	pdp := opa.Start(t, regoFiles(t))
	ask := func(path string, body any, answer any) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(pdp.URL()+path, "application/json", bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, _ := io.ReadAll(resp.Body)
		if err := json.Unmarshal(got, answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s", text, resp.Status, got)
		}
	}
	asked := 0
	for _, who := range people {
		var all []map[string]any
		var want []bool
		for _, c := range byRoute() {
			all, want = append(all, c.payload("identity", who)), append(want, slices.Contains(c.may, who.login))
		}
		for _, c := range byOwner(who) {
			all, want = append(all, c.payload("user", who)), append(want, slices.Contains(c.may, who.login))
		}
		var batch struct{ Evaluations []struct{ Decision bool } }
		ask(opa.Evaluations, map[string]any{"evaluations": all}, &batch)
		for i, one := range all {
			var answer struct{ Decision bool }
			ask(opa.Evaluation, one, &answer)
			if answer.Decision != want[i] || batch.Evaluations[i].Decision != want[i] {
				t.Errorf("%s, %v: %v alone and %v among others, want %v", who.login, one, answer.Decision, batch.Evaluations[i].Decision, want[i])
			}
			asked++
		}
	}
	if asked != 25+40 {
		t.Errorf("asked %d questions, and 65 are published", asked)
	}
}

func TestCedarDecidesAlike(t *testing.T) {
	point, err := cedar.Open(filepath.Join("testdata", "cedar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range people {
		subject := authz.Entity{Type: "user", ID: who.sub, Properties: map[string]any{"email": who.email, "roles": who.roles}}
		for _, c := range slices.Concat(byRoute(), byOwner(who)) {
			resource := authz.Entity{Type: c.resource.Type, ID: c.resource.ID, Properties: c.resource.Properties}
			d, err := point.Evaluate(t.Context(), authz.Question{Subject: subject, Action: authz.Action{Name: c.action}, Resource: resource})
			if err != nil || d.Allow != slices.Contains(c.may, who.login) {
				t.Errorf("%s, %s %v: %+v %v", who.login, c.action, resource, d, err)
			}
		}
	}
}

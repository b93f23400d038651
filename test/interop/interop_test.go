package interop

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"keyway/internal/testkit/opa"
	"keyway/test/e2e"
)

// Every answer is one of the decision point's own: nothing is remembered.
const nothingRemembered = "cache: {ttl_allow: 0s, ttl_deny: 0s}\n"

func TestEmbeddedPolicies(t *testing.T) {
	t.Parallel()
	folder, err := filepath.Abs(filepath.Join("testdata", "cedar"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, fmt.Sprintf("policies: %q\n", folder)+nothingRemembered)
	w.everybody(t)
	w.stranger(t)
}

func TestOpenPolicyAgent(t *testing.T) {
	t.Parallel()
	pdp := opa.Start(t, regoFiles(t))
	w := newWorld(t, fmt.Sprintf("connection: {base_url: %q}\nendpoints: {evaluation: %s, evaluations: %s}\nsubject_id: sub\n", pdp.URL(), opa.Evaluation, opa.Evaluations)+nothingRemembered)
	asked := w.everybody(t)
	w.stranger(t)
	inputs := pdp.Inputs(t, len(asked))
	if len(inputs) != len(asked) {
		t.Fatalf("it was asked %d times about %d requests", len(inputs), len(asked))
	}
	for i, want := range asked {
		want.wantAsked(t, inputs[i])
	}
}

// asked is a request that was made, in the order in which they were.
type asked struct {
	call
	who person
}

// everybody makes every request of both scenarios, and gets what is published.
func (w *world) everybody(t *testing.T) (made []asked) {
	t.Helper()
	for _, who := range people {
		for _, c := range slices.Concat(byRoute(), byOwner(who)) {
			if got, want := w.make(t, who, c), slices.Contains(c.may, who.login); got != want {
				t.Errorf("%s, %s %s (%s): %v, and published is %v", who.login, c.method, c.path, c.body, got, want)
			}
			made = append(made, asked{c, who})
		}
	}
	if len(made) != 25+40 {
		t.Errorf("%d requests were made, and 65 are published", len(made))
	}
	return made
}

// stranger is somebody who has not signed in: about him nobody is asked.
func (w *world) stranger(t *testing.T) {
	t.Helper()
	w.application.arrived()
	if a := e2e.NewBrowser(w.gateway.URL).Get(t, "/todos"); a.StatusCode != http.StatusUnauthorized || len(w.application.arrived()) != 0 {
		t.Errorf("nobody: %s %s", a.Status, a.Text)
	}
}

// wantAsked holds what the decision point was asked against the published payload.
// More properties and more context may be there, the descriptions say. In three
// places we say the same in other words:
//
//   - a subject is a `user` (or a `client`), as in AuthZEN 1.0's own examples and the
//     Todo scenario; the API gateway scenario has called it `identity` since 2025;
//   - the name of a route is the property `route`; an id is a thing's own;
//   - where no one todo is meant its id is `*`, and not that of an example.
func (want asked) wantAsked(t *testing.T, input map[string]any) {
	t.Helper()
	where := fmt.Sprintf("%s, %s %s", want.who.login, want.method, want.path)
	if got := slices.Sorted(maps.Keys(input)); !slices.Equal(got, []string{"action", "context", "resource", "subject"}) {
		t.Errorf("%s: the question has %v", where, got)
		return
	}
	subject, resource := input["subject"].(map[string]any), input["resource"].(map[string]any)
	payload := want.payload("user", want.who)
	if published := payload["subject"].(map[string]any); subject["type"] != published["type"] || subject["id"] != published["id"] {
		t.Errorf("%s: subject %v, published %v", where, subject, published)
	}
	if properties := subject["properties"].(map[string]any); properties["email"] != want.who.email {
		t.Errorf("%s: subject %v, whose mail is %s", where, subject, want.who.email)
	}
	if !reflect.DeepEqual(input["action"], payload["action"]) {
		t.Errorf("%s: action %v, published %v", where, input["action"], payload["action"])
	}
	published := payload["resource"].(map[string]any)
	switch want.resource.Type {
	case "route":
		published = map[string]any{"type": "route", "id": "*", "properties": map[string]any{"route": want.resource.ID}}
	case "todo":
		if published["id"] == "todo-1" {
			published["id"] = "*"
		}
	}
	if !reflect.DeepEqual(resource, published) {
		t.Errorf("%s: resource %v, published %v", where, resource, published)
	}
	context := input["context"].(map[string]any)
	at, err := time.Parse(time.RFC3339, fmt.Sprint(context["time"]))
	address, wrong := netip.ParseAddr(fmt.Sprint(context["ip"]))
	if err != nil || time.Since(at).Abs() > time.Hour || wrong != nil || !address.IsLoopback() || context["correlation_id"] == "" {
		t.Errorf("%s: context %v", where, context)
	}
}

package interop

import (
	"fmt"
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
	if made := len(w.everybody(t, byRoute(), nil)) + len(w.everybody(t, nil, byOwner)); made != 25+40 {
		t.Errorf("%d requests were made, and 65 are published", made)
	}
	w.stranger(t)
}

// The scenario for gateways has an `identity` where that of the Todo application has a
// `user`.
func TestOpenPolicyAgent(t *testing.T) {
	t.Parallel()
	for _, scenario := range []struct {
		name, subjectType string
		same              []call
		each              func(person) []call
		published         int
	}{
		{"API gateway", "identity", byRoute(), nil, 25},
		{"Todo", "user", nil, byOwner, 40},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			t.Parallel()
			pdp := opa.Start(t, regoFiles(t))
			w := newWorld(t, fmt.Sprintf("connection: {base_url: %q}\nendpoints: {evaluation: %s, evaluations: %s}\nsubject_id: sub\nsubject_type: %s\n",
				pdp.URL(), opa.Evaluation, opa.Evaluations, scenario.subjectType)+nothingRemembered)
			made := w.everybody(t, scenario.same, scenario.each)
			w.stranger(t)
			inputs := pdp.Inputs(t, len(made))
			if len(made) != scenario.published || len(inputs) != len(made) {
				t.Fatalf("%d requests were made, %d are published, and it was asked %d times", len(made), scenario.published, len(inputs))
			}
			for i, want := range made {
				want.wantAsked(t, scenario.subjectType, inputs[i])
			}
		})
	}
}

// asked is a request that was made, in the order in which they were.
type asked struct {
	call
	who person
}

// everybody makes every request of a scenario, and gets what is published.
func (w *world) everybody(t *testing.T, same []call, each func(person) []call) (made []asked) {
	t.Helper()
	for _, who := range people {
		calls := same
		if each != nil {
			calls = each(who)
		}
		for _, c := range calls {
			if got, want := w.make(t, who, c), slices.Contains(c.may, who.login); got != want {
				t.Errorf("%s, %s %s (%s): %v, and published is %v", who.login, c.method, c.path, c.body, got, want)
			}
			made = append(made, asked{c, who})
		}
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

// wantAsked holds what the decision point was asked against the published payload: it
// is that, to the letter, but for the subject's properties and the context, of which
// more may be there, the descriptions say.
func (want asked) wantAsked(t *testing.T, subjectType string, input map[string]any) {
	t.Helper()
	where := fmt.Sprintf("%s, %s %s", want.who.login, want.method, want.path)
	subject, _ := input["subject"].(map[string]any)
	properties, _ := subject["properties"].(map[string]any)
	context, _ := input["context"].(map[string]any)
	delete(subject, "properties")
	delete(input, "context")
	if published := want.payload(subjectType, want.who); !reflect.DeepEqual(input, published) {
		t.Errorf("%s: asked %v, published %v", where, input, published)
	}
	if properties["email"] != want.who.email {
		t.Errorf("%s: subject %v, whose mail is %s", where, properties, want.who.email)
	}
	at, err := time.Parse(time.RFC3339, fmt.Sprint(context["time"]))
	address, wrong := netip.ParseAddr(fmt.Sprint(context["ip"]))
	if err != nil || time.Since(at).Abs() > time.Hour || wrong != nil || !address.IsLoopback() || context["correlation_id"] == "" {
		t.Errorf("%s: context %v", where, context)
	}
}

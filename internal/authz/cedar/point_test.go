package cedar_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/cedar"
	"keyway/internal/principal"
)

const notes = `
@id("editors write")
permit(principal in role::"editor", action in [Action::"read", Action::"create"], resource is note);

@id("readers read")
permit(principal in role::"viewer", action == Action::"read", resource is note);

@id("owners do as they like")
permit(principal, action, resource is note) when { resource has owner && resource.owner == principal.sub };

@id("not from outside")
forbid(principal, action, resource) when { context has ip && !context.ip.isInRange(ip("10.0.0.0/8")) };
`

func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, dir, name, text)
	}
	return dir
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, files map[string]string) *cedar.Point {
	t.Helper()
	p, err := cedar.Open(folder(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ask(sub, role, action string, resource map[string]any) authz.Question {
	return authz.Question{
		Subject:  authz.Entity{Type: "user", ID: sub, Properties: map[string]any{"sub": sub, "roles": []string{role}, "permissions": []string{}}},
		Action:   authz.Action{Name: action},
		Resource: authz.Entity{Type: "note", ID: "7", Properties: resource},
	}
}

// from is a question that comes from an address.
func from(address string, q authz.Question) authz.Question {
	q.Context = authz.Context{Address: netip.MustParseAddr(address), Time: time.Unix(1e9, 0), CorrelationID: "c"}
	return q
}

func TestPoliciesDecide(t *testing.T) {
	p := open(t, map[string]string{"notes.cedar": notes, "README.md": "not a policy", ".hidden.cedar": "nonsense"})
	for name, c := range map[string]struct {
		q    authz.Question
		want bool
		why  string
	}{
		"an editor writes":           {ask("ada", "editor", "create", nil), true, "permitted by editors write"},
		"a viewer reads":             {ask("grace", "viewer", "read", nil), true, "permitted by readers read"},
		"a viewer does not write":    {ask("grace", "viewer", "create", nil), false, "no policy permits"},
		"an owner deletes":           {ask("grace", "viewer", "delete", map[string]any{"owner": "grace"}), true, "permitted by owners do as they like"},
		"somebody else does not":     {ask("eve", "viewer", "delete", map[string]any{"owner": "grace"}), false, "no policy permits"},
		"from outside nobody does":   {from("192.0.2.1", ask("ada", "editor", "read", nil)), false, "forbidden by not from outside"},
		"from inside":                {from("10.1.2.3", ask("ada", "editor", "read", nil)), true, "permitted by editors write"},
		"numbers, lists and objects": {ask("ada", "editor", "read", map[string]any{"n": json.Number("1"), "d": json.Number("1.25"), "l": []any{"a", nil}, "o": map[string]any{"x": true}, "z": nil}), true, "permitted by editors write"},
	} {
		d, err := p.Evaluate(t.Context(), c.q)
		if err != nil || d.Allow != c.want || d.Reason != c.why {
			t.Errorf("%s: got %+v, %v", name, d, err)
		}
	}
	all, err := p.EvaluateAll(t.Context(), []authz.Question{ask("ada", "editor", "create", nil), ask("grace", "viewer", "create", nil)})
	if err != nil || !all[0].Allow || all[1].Allow {
		t.Errorf("got %+v, %v", all, err)
	}
}

// What can't be put in Cedar's words is an error, and a policy that forbids and can't
// be worked out forbids.
func TestWhatIsNotUnderstoodIsNotAllowed(t *testing.T) {
	p := open(t, map[string]string{"a.cedar": `permit(principal, action, resource); @id("locked") forbid(principal, action, resource) when { resource.locked };`})
	for _, q := range []authz.Question{
		ask("ada", "editor", "read", map[string]any{"x": json.Number("1e400")}),
		ask("ada", "editor", "read", map[string]any{"x": 1.5}),
	} {
		if d, err := p.Evaluate(t.Context(), q); err == nil || d.Allow {
			t.Errorf("%+v: got %+v", q, d)
		}
	}
	d, err := p.Evaluate(t.Context(), ask("ada", "editor", "read", nil))
	if err != nil || d.Allow || !strings.Contains(d.Reason, "locked") {
		t.Errorf("got %+v, %v", d, err)
	}
	if d, err := p.Evaluate(t.Context(), ask("ada", "editor", "read", map[string]any{"locked": false})); err != nil || !d.Allow {
		t.Errorf("got %+v, %v", d, err)
	}
}

const notesSchema = `
entity role;
entity user in [role] { sub: String };
entity note { owner?: String };
action read, create, delete appliesTo { principal: user, resource: note, context: { ip?: ipaddr } };
`

func TestAFolderIsTakenWholeOrNotAtAll(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"a syntax error":                     {map[string]string{"a.cedar": "permit(principal, action, resource);", "b.cedar": "permit(principal,\naction resource);"}, []string{"b.cedar"}},
		"an attribute that the schema lacks": {map[string]string{cedar.SchemaFile: notesSchema, "a.cedar": "permit(principal, action == Action::\"read\", resource)\nwhen { principal.age > 3 };"}, []string{"a.cedar:1:1", "age"}},
		"an action that the schema lacks":    {map[string]string{cedar.SchemaFile: notesSchema, "a.cedar": `permit(principal, action == Action::"raed", resource);`}, []string{"a.cedar", "raed"}},
		"a schema that is none":              {map[string]string{cedar.SchemaFile: "entity {", "a.cedar": "permit(principal, action, resource);"}, []string{cedar.SchemaFile}},
		"two of one id":                      {map[string]string{"a.cedar": `@id("x") permit(principal, action, resource);`, "b.cedar": `@id("x") forbid(principal, action, resource);`}, []string{"b.cedar", `"x" is taken`}},
		"two problems":                       {map[string]string{"a.cedar": "permit(", "b.cedar": "forbid("}, []string{"a.cedar", "b.cedar"}},
		"too large":                          {map[string]string{"a.cedar": strings.Repeat("// padding\n", 100_000)}, []string{"1048576"}},
	} {
		_, err := cedar.Open(folder(t, c.files))
		if err == nil {
			t.Errorf("%s: was taken", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
	if _, err := cedar.Open(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	p := open(t, map[string]string{cedar.SchemaFile: notesSchema, "notes.cedar": notes})
	if p.Policies() != 4 {
		t.Errorf("%d policies", p.Policies())
	}
	// Nothing at all permits nothing.
	empty := open(t, nil)
	if d, err := empty.Evaluate(t.Context(), ask("ada", "editor", "read", nil)); err != nil || d.Allow {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestPoliciesChangeWhileTheyAreAsked(t *testing.T) {
	dir := folder(t, map[string]string{"a.cedar": `permit(principal, action, resource);`})
	p, err := cedar.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	q := ask("ada", "editor", "read", nil)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := p.Evaluate(t.Context(), q); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	allowed := func() bool {
		d, err := p.Evaluate(t.Context(), q)
		return err == nil && d.Allow
	}
	reload := func(want bool) {
		t.Helper()
		if changed, err := p.Reload(); err != nil || changed != want {
			t.Errorf("changed %v, %v; want %v", changed, err, want)
		}
	}
	reload(false)
	write(t, dir, "b.cedar", `forbid(principal, action, resource);`)
	reload(true)
	if allowed() {
		t.Error("the new policy is not obeyed")
	}
	write(t, dir, "b.cedar", `forbid(`)
	if changed, err := p.Reload(); err == nil || changed {
		t.Error("a broken folder was taken")
	}
	if allowed() {
		t.Error("with a broken folder the last good one does not stay")
	}
	reload(false) // it was said
	if err := os.Remove(filepath.Join(dir, "b.cedar")); err != nil {
		t.Fatal(err)
	}
	reload(true)
	if !allowed() {
		t.Error("what forbids is gone, and still forbids")
	}
	close(done)
	wg.Wait()
}

func BenchmarkEvaluate(b *testing.B) {
	p := open(b, map[string]string{"notes.cedar": notes})
	q := from("10.0.0.1", ask("ada", "editor", "read", map[string]any{"owner": "grace"}))
	b.ReportAllocs()
	for b.Loop() {
		if d, err := p.Evaluate(b.Context(), q); err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}

// What one decision costs from a principal on, with nothing remembered.
func BenchmarkEnforced(b *testing.B) {
	e, err := authz.NewEnforcer(authz.Options{PDP: open(b, map[string]string{"notes.cedar": notes}), Local: true})
	if err != nil {
		b.Fatal(err)
	}
	ask, err := authz.Compile(authz.Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
	if err != nil {
		b.Fatal(err)
	}
	who := principal.Principal{Provider: "demo", Subject: "u-ada-1815", Name: "Ada Lovelace", Email: "ada@example.test", SessionID: "s", AuthTime: time.Unix(1e9, 0), Roles: []string{"editor", "admin"}}
	at := authz.Circumstances{Address: netip.MustParseAddr("10.0.0.1"), CorrelationID: "0123456789abcdef0123456789abcdef"}
	b.ReportAllocs()
	for b.Loop() {
		if v, err := e.Decide(b.Context(), &who, ask, params{}, at); err != nil || !v.Allow {
			b.Fatal(v, err)
		}
	}
}

type params struct{}

func (params) Param(string) (string, bool) { return "7", true }
func (params) RawQuery() string            { return "" }
func (params) Body() ([]byte, error)       { return nil, nil }

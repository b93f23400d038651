package cedar_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/authz/cedar"
)

const vocabulary = `entity role;
entity user in [role] = { sub: String, name?: String };
entity client = {};
entity note = { owner?: String };
entity report = {};
action read, update appliesTo { principal: [user], resource: [note] };
action run appliesTo { principal: [client], resource: [report] };
`

// Who mends a policy is told where, what was found, and what would be right.
func TestWhatIsWrongWithAFolder(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // all of what is said
	}{
		{"a policy without an end", map[string]string{"notes.cedar": "permit(principal, action, resource)\n\n@id(\"b\")\npermit(principal, action, resource);\n"},
			`notes.cedar:3:1: found "@", expected ";": each policy ends with one, and the one before lacks it`},
		{"one behind a comment", map[string]string{"a.cedar": "permit(principal, action, resource) // to@all;\nforbid(principal, action, resource);"},
			`a.cedar:2:1: found "forbid", expected ";": each policy ends with one, and the one before lacks it`},
		{"the end of the file", map[string]string{"a.cedar": "permit(principal, action, resource)"},
			`a.cedar:1:36: found the end of the file, expected ";": each policy ends with one, and the one before lacks it`},
		{"a misspelt when", map[string]string{"a.cedar": "permit(principal, action, resource) wen { true };"}, `a.cedar:1:37: found "wen", expected ";": each policy ends with one`},
		{"no effect", map[string]string{"a.cedar": "\nallow(principal, action, resource);"}, `a.cedar:2:1: found "allow", expected permit or forbid: so a policy begins`},
		{"no comma", map[string]string{"a.cedar": "permit(principal action, resource);"}, `a.cedar:1:18: found "action", expected ","`},
		{"no comma in a list", map[string]string{"a.cedar": "permit(principal, action, resource) when { [1 2].contains(1) };"}, `a.cedar:1:47: found "2", expected ","`},
		{"no value", map[string]string{"a.cedar": "permit(principal, action, resource) when { principal.x == };"}, `a.cedar:1:60: at or before ";": expected a value`},
		{"no end of a text", map[string]string{"a.cedar": `permit(principal, action, resource) when { "abc };`}, `a.cedar:1:44: literal not terminated`},
		{"an unknown action and type", map[string]string{"schema.cedarschema": vocabulary, "a.cedar": `@id("x") permit(principal, action == Action::"raed", resource is nte);`},
			"a.cedar:1:1: policy \"x\": unrecognized action `Action::\"raed\"`, expected one of the schema: Action::\"read\", Action::\"run\", Action::\"update\"; unrecognized entity type `nte`, expected one of the schema: client, note, report, role, user"},
		{"what nobody may ask", map[string]string{"schema.cedarschema": vocabulary, "a.cedar": `permit(principal, action == Action::"run", resource is note);`},
			`a.cedar:1:1: policy "a.cedar#1": no action of the schema is about such a principal and resource; there are read of [user] for [note], run of [client] for [report], update of [user] for [note]`},
		{"what may be missing", map[string]string{"schema.cedarschema": vocabulary, "a.cedar": `permit(principal, action == Action::"read", resource) when { resource.owner == principal.sub };`},
			"a.cedar:1:1: policy \"a.cedar#1\": attribute `owner` on entity type `note` may be missing; ask for it before: … has owner && …"},
		{"a schema that is none", map[string]string{"schema.cedarschema": "entity note note;"}, `schema.cedarschema:1:13: expected ';', got identifier "note"`},
		{"a schema of what is not there", map[string]string{"schema.cedarschema": "entity note in [folder];"}, `schema.cedarschema: entity "note": undefined entity type "folder"`},
		{"a schema of another name", map[string]string{"notes.cedarschema": vocabulary},
			"notes.cedarschema: a schema that would not be read, so that nothing is checked against it; expected its name to be schema.cedarschema, in Cedar's own form"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := cedar.Open(folder(t, c.files))
			wrong, ok := errors.AsType[*cedar.Error](err)
			if !ok || strings.Join(wrong.Problems, "\n") != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestAMissingFolderIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := cedar.Open("nowhere"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no folder nowhere (below /") {
		t.Errorf("got %v", err)
	}
}

// A schema that comes under another name refuses the change: what was good stays.
func TestAStraySchemaIsSeenLater(t *testing.T) {
	dir := folder(t, map[string]string{"a.cedar": "permit(principal, action, resource);"})
	p, err := cedar.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "notes.cedarschema.json", "{}")
	if changed, err := p.Reload(); err == nil || changed || p.Policies() != 1 {
		t.Errorf("changed %v, %v", changed, err)
	}
}

// What is wrong with a folder is told once for each state of it, also that there is too
// much in it.
func TestTooManyFilesAreToldOnce(t *testing.T) {
	dir := folder(t, map[string]string{"a.cedar": "permit(principal, action, resource);"})
	p, err := cedar.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		write(t, dir, fmt.Sprintf("b%03d.cedar", i), "")
	}
	reload := func(when string, told bool) {
		t.Helper()
		changed, err := p.Reload()
		if wrong, ok := errors.AsType[*cedar.Error](err); changed || ok != told || told && wrong.Problems[0] != "expected at most 200 files" || p.Policies() != 1 {
			t.Errorf("%s: changed %v, %v, %d policies", when, changed, err, p.Policies())
		}
	}
	reload("when it has become too many", true)
	reload("when nothing has changed since", false)
	write(t, dir, "c.cedar", "")
	reload("when there is one more", true)
	reload("when nothing has changed since then", false)
	for i := range 2 {
		if err := os.Remove(filepath.Join(dir, fmt.Sprintf("b%03d.cedar", i))); err != nil {
			t.Fatal(err)
		}
	}
	if changed, err := p.Reload(); err != nil || !changed {
		t.Errorf("when it is good again: changed %v, %v", changed, err)
	}
	for i := range 2 {
		write(t, dir, fmt.Sprintf("d%d.cedar", i), "")
	}
	if _, err := cedar.Open(dir); err == nil || !strings.Contains(err.Error(), "at most 200 files") {
		t.Errorf("opened: %v", err)
	}
}

// A mapping that asks what the schema has no place for is denied always.
func TestQuestionsAreHeldAgainstTheSchema(t *testing.T) {
	known := open(t, map[string]string{"schema.cedarschema": vocabulary}).Known()
	for _, c := range []struct {
		subjects         []string
		action, resource string
		want             string
	}{
		{[]string{"user"}, "read", "note", ""},
		{[]string{"user", "client"}, "run", "report", ""},
		{[]string{"user"}, "read", "nte", `the resource type "nte" is not known, expected one of the schema: client, note, report, role, user`},
		{[]string{"user"}, "raed", "note", `the action "raed" is not known, expected one of the schema: Action::"read", Action::"run", Action::"update"`},
		{[]string{"user"}, "read", "report", `the action "read" is for note only, and not for "report"`},
		{[]string{"user"}, "run", "report", `the action "run" is of client only, and who asks is a user`},
	} {
		err := known.Asked(c.subjects, c.action, c.resource)
		if err == nil && c.want != "" || err != nil && err.Error() != c.want {
			t.Errorf("%v: got %v", c, err)
		}
	}
	if open(t, map[string]string{"a.cedar": "permit(principal, action, resource);"}).Known() != nil {
		t.Error("something is known without a schema")
	}
}

func FuzzWhatIsWrong(f *testing.F) {
	f.Add("permit(principal, action, resource)\n@id(\"é\")")
	f.Add("permit(principal,\r\n// @\n@")
	f.Add("\"")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		write(t, dir, "a.cedar", text)
		_, err := cedar.Open(dir)
		if wrong, ok := errors.AsType[*cedar.Error](err); ok && !strings.HasPrefix(wrong.Problems[0], "a.cedar:") {
			t.Errorf("no place: %v", err)
		}
	})
}

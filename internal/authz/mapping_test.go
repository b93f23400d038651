package authz

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"keyway/internal/threat"
)

type facts struct {
	params      map[string]string
	query, body string
}

func (f *facts) Param(name string) (string, bool) { v, ok := f.params[name]; return v, ok }
func (f *facts) RawQuery() string                 { return f.query }
func (f *facts) Body() ([]byte, error) {
	if f.body == "" {
		return nil, errors.New("there is no body")
	}
	return []byte(f.body), nil
}

func factsOf(params map[string]string, query, body string) *facts { return &facts{params, query, body} }

func TestWhatIsAsked(t *testing.T) {
	m := Mapping{Resource: "note", Action: "update", IDFrom: "{id}", Props: map[string]string{
		"owner": "$.note.owner", "first": "$.tags[0]", "tags": "$.tags[*]", "state": "?state", "kind": "note", "missing": "$.nobody", "unasked": "?nobody", "big": "$.n",
	}}
	a, err := Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Resolve(factsOf(map[string]string{"id": "7"}, "state=open&x=1", `{"note":{"owner":"ada"},"tags":["a","b"],"n":12345678901234567890}`))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(got)
	if want := `{"type":"note","id":"7","properties":{"big":12345678901234567890,"first":"a","kind":"note","owner":"ada","state":"open","tags":["a","b"]}}`; string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if !a.ReadsBody() {
		t.Error("it does not say that it reads the body")
	}
}

// The examples of RFC 9535 section 2.3 and 2.5 that people write, and forms that are
// none.
func TestJSONPath(t *testing.T) {
	const body = `{"a":{"b":[10,{"c d":"e"},null,true]},"☺":"s","'":"q","x":[{"y":1},{"y":2},{"z":3}]}`
	for path, want := range map[string]string{
		"$.a.b[0]": "10", "$.a.b[-1]": "true", "$.a.b[1]['c d']": `"e"`, `$.a.b[1]["c d"]`: `"e"`, "$.☺": `"s"`, `$['\'']`: `"q"`, "$.a.b[2]": "null",
		"$.x[*].y": "[1,2]", "$..y": "[1,2]", "$.x[?@.y==2]": `[{"y":2}]`, "$.x[0:2].y": "[1,2]", "$.x[0,2]": `[{"y":1},{"z":3}]`, "$.x[?@.q]": "[]",
		"$.a.b[9]": "", "$.q": "", "$.a.b.c": "",
	} {
		s, err := parseSource(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		r := reading{facts: factsOf(nil, "", body)}
		value, err := r.value(&s)
		text, _ := json.Marshal(value)
		if want == "" {
			if !errors.Is(err, errAbsent) {
				t.Errorf("%s: got %s, %v; want nothing", path, text, err)
			}
		} else if err != nil || string(text) != want {
			t.Errorf("%s: got %s, %v; want %s", path, text, err, want)
		}
	}
	for _, path := range []string{"$.", "$.1", "$.&", "$.a ", "$['a'", "$[01]", "$.a.length()", "$..", "$[]", "$[?]", "${X}"} {
		if _, err := parseSource(path); err == nil {
			t.Errorf("%s is no query", path)
		}
	}
}

// What two readers could read differently is not put into a question.
func TestUnclearRequestsAreRefused(t *testing.T) {
	threat.Covers(t, 39)
	compiled := func(m Mapping) *Ask {
		a, err := Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	byBody := compiled(Mapping{Resource: "note", Action: "create", IDFrom: "$.id"})
	for _, body := range []string{
		`{"id":"1","id":"2"}`, `{"id":"1"}{"id":"2"}`, `{"id":"1"},"w":{"id":"2"}`, `1,"w":2`, `{"id":1.0}`, `{"id":1e0}`, `{"id":true}`, `{"id":null}`, `{"id":["1"]}`, `{"id":""}`,
		`{"id":"*"}`, `{"id":"a\u0000b"}`, "{\"id\":\"\xff\"}", `{"id":"` + strings.Repeat("x", 600) + `"}`, `{}`, `[]`, `{"ID":"1"}`, `not json`, "", strings.Repeat("[", 5000),
	} {
		if got, err := byBody.Resolve(factsOf(nil, "", body)); err == nil {
			t.Errorf("%.60q: asked about %+v", body, got)
		} else if strings.Contains(err.Error(), "\x00") || len(err.Error()) > 300 {
			t.Errorf("%.60q: the error quotes it: %q", body, err)
		}
	}
	byQuery := compiled(Mapping{Resource: "note", Action: "read", IDFrom: "?id"})
	for _, query := range []string{"", "id=1&id=2", "id=1&%69d=2", "id=%zz", "id=*", "id=", "id=1;id=2"} {
		if got, err := byQuery.Resolve(factsOf(nil, query, "")); err == nil {
			t.Errorf("%q: asked about %+v", query, got)
		}
	}
	byPath := compiled(Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
	for _, id := range []string{"*", "", "a\nb", "\uFFFD"} {
		if got, err := byPath.Resolve(factsOf(map[string]string{"id": id}, "", "")); err == nil {
			t.Errorf("%q: asked about %+v", id, got)
		}
	}
}

func TestMappingsThatMeanNothing(t *testing.T) {
	for _, m := range []Mapping{
		{Action: "read"}, {Resource: "note"}, {Resource: "n", Action: "a", IDFrom: "7"}, {Resource: "n", Action: "a", IDFrom: "$.a[*]"}, {Resource: "n", Action: "a", IDFrom: "{}"},
		{Resource: "n", Action: "a", IDFrom: "{id"}, {Resource: "n", Action: "a", IDFrom: "?"}, {Resource: "n", Action: "a", Props: map[string]string{"p": "$.["}},
	} {
		if _, err := Compile(m); err == nil {
			t.Errorf("%+v was taken", m)
		}
	}
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"id":"1"}`, `{"id":1,"id":2}`, `1,"w":2`, `[{"id":"1"}]`, "\xff"} {
		f.Add(s)
	}
	a, err := Compile(Mapping{Resource: "note", Action: "create", IDFrom: "$.id", Props: map[string]string{"all": "$..*", "some": "$[?@.id==1]"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		resource, err := a.Resolve(factsOf(nil, "", body))
		if err != nil {
			return
		}
		// What was understood, every reader understands so.
		var other struct {
			ID any `json:"id"`
		}
		if json.Unmarshal([]byte(body), &other) != nil || other.ID == nil {
			t.Fatalf("%q was understood as %+v", body, resource)
		}
		if s, ok := other.ID.(string); ok && s != resource.ID {
			t.Fatalf("%q: %q and %q", body, s, resource.ID)
		}
	})
}

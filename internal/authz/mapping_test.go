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

// A constant may be anything, behind a sign: also what looks like a source, and an id.
func TestConstants(t *testing.T) {
	a, err := Compile(Mapping{Resource: "route", Action: "GET", IDFrom: "=/todos/{todoId}", Props: map[string]string{
		"word": "web", "same": "=web", "param": "={id}", "query": "=?id", "path": "=$.a", "sign": "==", "empty": "=",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if a.ReadsBody() {
		t.Error("it reads the body")
	}
	got, err := a.Resolve(factsOf(map[string]string{"id": "7"}, "id=8", `{"a":9}`))
	text, _ := json.Marshal(got)
	if want := `{"type":"route","id":"/todos/{todoId}","properties":{"empty":"","param":"{id}","path":"$.a","query":"?id","same":"web","sign":"=","word":"web"}}`; err != nil || string(text) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, text, want)
	}
	for id, want := range map[string]string{
		"todo-1": "expected {param}, ?name, =text", "=": "expected 1 to 512 bytes", "=*": "no one in particular", "=a\nb": "printable", "=" + strings.Repeat("x", 513): "1 to 512",
	} {
		if _, err := Compile(Mapping{Resource: "todo", Action: "read", IDFrom: id}); err == nil || !strings.HasPrefix(err.Error(), "id_from: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", id, err, want)
		}
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
		`{"id":"1","ID":"2"}`, `{"Id":"2","id":"1"}`, `{"id":-0}`, `{"id":9007199254740993}`, `{"id":-9007199254740993}`,
		`{"id":"*"}`, `{"id":"a\u0000b"}`, "{\"id\":\"\xff\"}", `{"id":"` + strings.Repeat("x", 600) + `"}`, `{}`, `[]`, `{"ID":"1"}`, `not json`, "", strings.Repeat("[", 5000),
	} {
		if got, err := byBody.Resolve(factsOf(nil, "", body)); err == nil {
			t.Errorf("%.60q: asked about %+v", body, got)
		} else if strings.Contains(err.Error(), "\x00") || len(err.Error()) > 300 {
			t.Errorf("%.60q: the error quotes it: %q", body, err)
		}
	}
	byQuery := compiled(Mapping{Resource: "note", Action: "read", IDFrom: "?id"})
	for _, query := range []string{"", "id=1&id=2", "id=1&%69d=2", "id=%zz", "id=*", "id=", "id=1;id=2",
		"id=1&ID=2", "ID=2", "id=1&id[]=2", "id=1&id[0]=2", "id=1&%20id=2", "id=1&id%00=2"} {
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

// Many readers of JSON, encoding/json among them, take a member for the one of another
// case; many of queries do so, too.
func TestNamesInAnotherSpelling(t *testing.T) {
	threat.Covers(t, 39)
	for _, c := range []struct {
		source, query, body string
		ok                  bool
	}{
		{"$.note.folder", "", `{"note":{"folder":"mine","Folder":"boss"}}`, false},
		{"$.note.folder", "", `{"note":{"folder":"mine"},"NOTE":{"folder":"boss"}}`, false},
		{"$.note.folder", "", `{"note":{"FOLDER":"boss"}}`, false}, // or the policy would see none
		{"$['note'][\"folder\"]", "", `{"Note":{"folder":"boss"}}`, false},
		{"$.risk", "", `{"risk":1,"ri\u017fk":2}`, false}, // long s, which folds to s
		{"$.key", "", `{"\u212aey":2}`, false},            // Kelvin's sign
		{"$.note", "", `{"note":{"folder":"mine","Folder":"boss"}}`, false},
		{"$..folder", "", `{"a":{"folder":1},"b":{"Folder":2}}`, false},
		{"$.x[?@.a=='B'].folder", "", `{"x":[{"a":"B","folder":1,"Folder":2}]}`, false},
		{"?folder", "folder=mine&FOLDER=boss", "", false},
		{"?folder", "Folder=boss", "", false},
		{"?my_folder", "my.folder=boss", "", false},
		// Half a pair of UTF-16 is left out by some, and a mark for others; so are bytes that
		// are no UTF-8.
		{"$.note.folder", "", `{"note":{"folder":"boss\ud800"}}`, false},
		{"$.note", "", `{"note":{"folder":["\udfffboss"]}}`, false},
		{"$..folder", "", `{"folder":"boss\ud800"}`, false},
		{"?folder", "folder=boss%ff", "", false},
		{"$.note.folder", "", `{"note":{"folder":"\ud83d\ude00"},"x":"\ud800"}`, true},
		// What nobody asks about may be called as it likes.
		{"$.note.folder", "", `{"note":{"folder":"mine"},"words":{"march":1,"March":2},"Folder":1}`, true},
		{"$.note.folder", "", `{"note":{"title":"Folder"}}`, true},
		{"$.É.Folder", "", `{"É":{"Folder":1}}`, true},
		{"$..folder", "", `{"a":{"folder":1},"x":1,"X":2}`, true},
		{"$.x[?@.a=='B'].folder", "", `{"x":[{"a":"B","folder":1}]}`, true},
		{"?folder", "a=1&A=2&folders=3", "", true},
	} {
		a, err := Compile(Mapping{Resource: "note", Action: "create", Props: map[string]string{"p": c.source}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Resolve(factsOf(nil, c.query, c.body))
		if (err == nil) != c.ok {
			t.Errorf("%s of %s%s: asked about %+v, %v", c.source, c.query, c.body, got, err)
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
	for _, s := range []string{`{"id":"1"}`, `{"id":1,"id":2}`, `1,"w":2`, `[{"id":"1"}]`, "\xff", `{"id":"1","ID":"2"}`} {
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

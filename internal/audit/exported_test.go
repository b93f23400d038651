package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// exported is a file as an export has it.
func exported(t testing.TB, lines [][]byte, end End) []byte {
	t.Helper()
	last, err := json.Marshal(end)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Join(append(slices.Clone(lines), last), []byte("\n")), '\n')
}

// checked is a file as somebody checks it who has nothing else.
func checked(t testing.TB, file []byte, keySet []byte) Report {
	t.Helper()
	lines, end, err := ReadExport(file)
	if err != nil {
		t.Fatal(err)
	}
	o := CheckOptions{KeySet: keySet}
	if end != nil {
		o.Head, o.Part, o.Whole = end.Head, &end.Part, end.All()
	}
	return Check(lines, o)
}

func faults(r Report) string {
	var all []string
	for _, p := range r.Problems {
		all = append(all, string(p.Fault))
	}
	return strings.Join(all, " ")
}

// Who may write a file can make a chain of his own that is whole in itself. He must
// not get it past a key set by leaving out what he can't make.
func TestAnEndThatNobodySigned(t *testing.T) {
	k := newKey(t)
	lines, head := chained(t, Head{}, 4)
	head = k.sign(t, head)
	part := Part{First: 1, Last: 4}
	if r := checked(t, exported(t, lines, End{&head, part}), k.Set); !r.OK || len(r.Notes) > 0 || r.SignedAt.IsZero() {
		t.Fatalf("as it was: %+v", r)
	}
	anew, other := forged(t, Head{}, 4, Event{At: began, Type: TypeAsked, Actor: "nobody"})
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"no signature":               {exported(t, anew, End{&other, part}), "unsigned"},
		"no head":                    {append(bytes.Join(anew, []byte("\n")), '\n'), "no_head"},
		"no head, of ours":           {append(bytes.Join(lines[:3], []byte("\n")), '\n'), "no_head"},
		"half a head":                {append(bytes.Join(append(slices.Clone(anew), []byte(`{"head":{"seq":4`)), []byte("\n")), '\n'), "no_head"},
		"a head of nothing":          {[]byte(`{"head":null}`), "no_head"},
		"an empty record":            {exported(t, nil, End{Head: &Head{}}), "unsigned"},
		"an empty part":              {exported(t, nil, End{&Head{}, Part{Since: began}}), "unsigned"},
		"the signature of another":   {exported(t, anew, End{&Head{other.Seq, other.Hash, head.Signature}, part}), "forged"},
		"the end of a part":          {exported(t, lines[:2], End{&Head{Seq: 2, Hash: HashLine(lines[1])}, Part{Until: began.Add(time.Hour), First: 1, Last: 2}}), "unsigned"},
		"the head of ours, and more": {exported(t, anew, End{&head, part}), "changed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := checked(t, c.file, k.Set)
			if r.OK || faults(r) != c.want || r.Problems[0].Means == "" {
				t.Errorf("expected %s, found %+v", c.want, r)
			}
			if c.want == "no_head" {
				if r := checked(t, c.file, nil); r.OK || faults(r) != c.want {
					t.Errorf("without a key set: %+v", r)
				}
			}
		})
	}
}

// What was exported is a part, and is checked as one.
func TestAPart(t *testing.T) {
	k := newKey(t)
	lines, whole := chained(t, Head{}, 8)
	whole = k.sign(t, whole)
	since, until := event(3).At, event(7).At
	to6 := Head{Seq: 6, Hash: HashLine(lines[5])}
	middle := End{&to6, Part{since, until, 3, 6}}
	for name, c := range map[string]struct {
		lines [][]byte
		end   End
		want  string
		notes int
	}{
		"all":                         {lines, End{&whole, Part{First: 1, Last: 8}}, "", 0},
		"since":                       {lines[2:], End{&whole, Part{Since: since, First: 3, Last: 8}}, "", 1},
		"since and until":             {lines[2:6], middle, "", 1},
		"nothing":                     {nil, End{&whole, Part{Since: until.Add(time.Hour)}}, "", 2},
		"the first of all is missing": {lines[1:], End{&whole, Part{First: 1, Last: 8}}, "missing", 0},
		"the first is missing":        {lines[3:6], middle, "missing", 1},
		"one is missing":              {slices.Delete(slices.Clone(lines), 3, 4)[2:5], middle, "missing", 1},
		"the last is missing":         {lines[2:5], middle, "cut_off", 1},
		"all are missing":             {nil, middle, "cut_off", 1},
		"one before it":               {lines[1:6], middle, "changed", 1},
		"there should be none":        {lines[2:], End{&whole, Part{Since: since}}, "changed", 1},
		"it ends in two places":       {lines[2:6], End{&to6, Part{since, until, 3, 5}}, "changed", 1},
		"the oldest are not told of":  {lines[2:], End{&whole, Part{First: 3, Last: 8}}, "no_beginning", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var keys []byte
			if c.end.Head.Signature != "" {
				keys = k.Set
			}
			file := exported(t, c.lines, c.end)
			r := checked(t, file, keys)
			notes := len(r.Notes)
			if keys == nil {
				notes-- // that there was no key set
			}
			if r.OK != (c.want == "") || faults(r) != c.want || notes != c.notes {
				t.Errorf("%s\nexpected %q, found %+v", file, c.want, r)
			}
		})
	}
	all := checked(t, exported(t, nil, middle), nil)
	if p := all.Problems[0]; p.Seq != 3 || p.To != 6 {
		t.Errorf("expected 3 to 6 to be missing, found %+v", p)
	}

	// An anchor beyond a part, or where the record ended when nothing was exported.
	for _, c := range []struct {
		lines    [][]byte
		end      End
		anchor   Anchor
		ok       bool
		anchored bool
	}{
		{lines[2:6], middle, Anchor{8, whole.Hash}, true, false},
		{nil, End{&whole, Part{Since: until.Add(time.Hour)}}, Anchor{8, whole.Hash}, true, true},
		{nil, End{&whole, Part{Since: until.Add(time.Hour)}}, Anchor{8, to6.Hash}, false, false},
		{nil, End{&whole, Part{Since: until.Add(time.Hour)}}, Anchor{6, to6.Hash}, true, false},
	} {
		r := Check(c.lines, CheckOptions{Head: c.end.Head, Part: &c.end.Part, Anchor: &c.anchor})
		if r.OK != c.ok || r.Anchored != c.anchored {
			t.Errorf("%+v: %+v", c.anchor, r)
		}
	}
}

func TestWhatIsNoExport(t *testing.T) {
	lines, head := chained(t, Head{}, 2)
	for name, c := range map[string]struct{ file, want string }{
		"empty":        {"", "empty"},
		"empty lines":  {"\n\n", "empty"},
		"a key set":    {string(newKey(t).Set), "neither"},
		"text":         {"hello\nworld\n", "neither"},
		"another JSON": {`{"seq":"1"}`, "neither"},
	} {
		_, _, err := ReadExport([]byte(c.file))
		if no, ok := errors.AsType[*NoExportError](err); !ok || !strings.Contains(no.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is damaged is an export still.
	for _, file := range []string{"hello\n" + string(lines[1]), "hello\n" + string(exported(t, nil, End{Head: &head})), string(lines[0][:20])} {
		if got, _, err := ReadExport([]byte(file)); err != nil || len(got) != strings.Count(strings.TrimSpace(file), "\n")+1-strings.Count(file, `{"head"`) {
			t.Errorf("%q: %d lines, %v", file, len(got), err)
		}
	}
}

// A wrong key set accuses nobody.
func TestWhatIsNoKeySet(t *testing.T) {
	k := newKey(t)
	lines, head := chained(t, Head{}, 2)
	head = k.sign(t, head)
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(k.Set, &set); err != nil || CheckKeySet(k.Set) != nil {
		t.Fatal(err, CheckKeySet(k.Set))
	}
	for found, keys := range map[string]string{
		"it is empty":                " \n",
		"an export of the record":    string(exported(t, lines, End{Head: &head})),
		"an export":                  string(exported(t, nil, End{Head: &head})),
		"not a JSON object":          "<html>",
		"one key, without the set":   string(set.Keys[0]),
		"a JSON object without keys": `{"ok":true}`,
		"keys that can't be read":    `{"keys":"none"}`,
		"a set without public keys":  `{"keys":[]}`,
		"without public keys":        `{"keys":[{"kty":"oct","k":"AAAA","kid":"` + k.KeyID() + `"}]}`,
	} {
		err := CheckKeySet([]byte(keys))
		if no, ok := errors.AsType[*KeySetError](err); !ok || !strings.Contains(no.Error(), found) {
			t.Errorf("expected %q, found %v", found, err)
		}
		if r := Check(lines, CheckOptions{Head: &head, KeySet: []byte(keys)}); r.OK || faults(r) != "unknown_key" {
			t.Errorf("%s: %+v", found, r.Problems)
		}
	}
	r := Check(lines, CheckOptions{Head: &head, KeySet: newKey(t).Set})
	if faults(r) != "unknown_key" || !strings.Contains(r.Problems[0].What, k.KeyID()) || !strings.Contains(r.Problems[0].Means, "/.well-known/jwks.json") {
		t.Errorf("%+v", r.Problems)
	}
}

func FuzzReadExport(f *testing.F) {
	lines, head := chained(f, Head{}, 3)
	f.Add(exported(f, lines, End{&head, Part{First: 1, Last: 3}}))
	f.Add(exported(f, lines[1:], End{&head, Part{Since: began, First: 2, Last: 3}}))
	f.Add([]byte(`{"head":{"seq":18446744073709551615},"first":18446744073709551615}`))
	f.Add([]byte("{\"seq\":1,\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		lines, end, err := ReadExport(bytes.Clone(file))
		if err != nil {
			return
		}
		o := CheckOptions{}
		if end != nil {
			o = CheckOptions{Head: end.Head, Part: &end.Part, Whole: end.All()}
		}
		if r := Check(lines, o); r.OK != (len(r.Problems) == 0) || r.OK && end == nil {
			t.Errorf("%+v", r)
		}
	})
}

package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnEntryIsReadAsItWasWritten(t *testing.T) {
	first, err := Encode(Head{}, event(1))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Encode(Head{Seq: 1, Hash: first.Hash()}, event(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{first, second} {
		got, err := Parse(e.Line)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(e, got); d != "" {
			t.Error(d)
		}
	}
	want := `{"seq":2,"prev":"` + first.Hash() + `","id":"r1/2","at":"2026-03-01T12:02:00Z","type":"rotation.held","actor":"schedule","replica":"b7",` +
		`"secret":"session-key","rotation":"r1","from":"v1","to":"v2","detail":"by every <live> replica","data":{"n":1}}`
	if string(second.Line) != want {
		t.Errorf("expected\n%s, found\n%s", want, second.Line)
	}
}

// What a provider's user is called, and what a peer answers, is shown on terminals.
func TestNothingSteersATerminal(t *testing.T) {
	const hostile = "a\u009b2J\x1b]0;x\a\u202etxt\u2066\nb\x7f"
	data, err := json.Marshal(map[string]string{"host": hostile})
	if err != nil {
		t.Fatal(err)
	}
	e, err := Encode(Head{}, Event{ID: hostile, At: began, Type: hostile, Actor: hostile, Replica: hostile, Detail: hostile, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range string(e.Line) {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2066' {
			t.Fatalf("%U in %q", r, e.Line)
		}
	}
	if want := "a 2J ]0;x  txt  b "; e.Actor != want {
		t.Errorf("expected %q, found %q", want, e.Actor)
	}
	got, err := Parse(e.Line)
	if err != nil {
		t.Fatal(err)
	}
	var kept struct{ Host string }
	if err := json.Unmarshal(got.Data, &kept); err != nil || kept.Host != hostile {
		t.Errorf("%q, %v", kept.Host, err)
	}
}

func TestOneFormOnly(t *testing.T) {
	e, err := Encode(Head{}, event(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"a space":             strings.Replace(string(e.Line), ":", ": ", 1),
		"another order":       `{"prev":"","seq":1,` + strings.TrimPrefix(string(e.Line), `{"seq":1,"prev":"",`),
		"an escape":           strings.Replace(string(e.Line), "held", `h\u0065ld`, 1),
		"a member twice":      strings.Replace(string(e.Line), `{"seq":1`, `{"seq":9,"seq":1`, 1),
		"in data, twice":      strings.Replace(string(e.Line), `{"n":1}`, `{"n":1,"n":2}`, 1),
		"data is no object":   strings.Replace(string(e.Line), `{"n":1}`, `[1]`, 1),
		"another case":        strings.Replace(string(e.Line), `"seq"`, `"Seq"`, 1),
		"an unknown member":   strings.Replace(string(e.Line), `{"seq"`, `{"x":1,"seq"`, 1),
		"an empty member":     strings.Replace(string(e.Line), `"actor":"schedule"`, `"actor":""`, 1),
		"another time zone":   strings.Replace(string(e.Line), `12:01:00Z`, `14:01:00+02:00`, 1),
		"zeros in the time":   strings.Replace(string(e.Line), `12:01:00Z`, `12:01:00.000Z`, 1),
		"no number":           strings.Replace(string(e.Line), `"seq":1`, `"seq":0`, 1),
		"a number too large":  strings.Replace(string(e.Line), `"seq":1`, `"seq":18446744073709551616`, 1),
		"prev of the first":   strings.Replace(string(e.Line), `"prev":""`, `"prev":"`+HashLine(nil)+`"`, 1),
		"no prev":             strings.Replace(string(e.Line), `"seq":1`, `"seq":2`, 1),
		"no type":             strings.Replace(string(e.Line), `rotation.held`, ``, 1),
		"bytes that are none": strings.Replace(string(e.Line), "held", "\xff\xfe", 1),
		"something after it":  string(e.Line) + "{}",
		"a line's end":        string(e.Line) + "\n",
		"an array":            "[]",
		"nothing":             "",
		"too long":            strings.Replace(string(e.Line), "held", strings.Repeat("h", MaxLine), 1),
	} {
		if _, err := Parse([]byte(line)); err == nil {
			t.Errorf("%s was taken", name)
		} else if strings.Contains(err.Error(), "session-key") {
			t.Errorf("%s: the error quotes what was found: %v", name, err)
		}
	}
}

// Nothing that can happen is too much to be recorded.
func TestWhatIsTooLongIsCut(t *testing.T) {
	nasty := strings.Repeat("\x01ä\xff", 4000)
	e, err := Encode(Head{Seq: 1 << 60, Hash: HashLine(nil)}, Event{
		ID: nasty, Type: nasty, Actor: nasty, Replica: nasty, Secret: nasty, Rotation: nasty, From: nasty, To: nasty, Outcome: nasty, Detail: nasty,
		At: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC), Data: json.RawMessage(`{"a":"` + strings.Repeat("x", 5000) + `"}`),
	})
	if err != nil || len(e.Line) > MaxLine {
		t.Fatalf("%d bytes, %v", len(e.Line), err)
	}
	if _, err := Parse(e.Line); err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(e.Actor, "…") || string(e.Data) != `{"left_out":5008}` || bytes.Contains(e.Line, []byte("\n")) {
		t.Errorf("%s", e.Line)
	}
	for _, data := range []string{`[]`, `{`, ``, `null`, ` {"a": 1} `} {
		e, err := Encode(Head{}, Event{ID: "a", Type: "b", Data: json.RawMessage(data)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(e.Line); err != nil {
			t.Errorf("%q: %v", data, err)
		}
	}
	if _, err := Encode(Head{}, Event{Type: "b"}); err == nil {
		t.Error("an event without an id was taken")
	}
}

// What is read as an entry is written as the same bytes.
func FuzzParse(f *testing.F) {
	e, err := Encode(Head{}, event(1))
	if err != nil {
		f.Fatal(err)
	}
	next, err := Encode(Head{Seq: 1, Hash: e.Hash()}, Event{ID: "ü\u2028<&>", Type: "x", Data: json.RawMessage(`{"a":[1e3,"\u2028",{"b":null}]}`)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(e.Line))
	f.Add([]byte(next.Line))
	f.Add([]byte(`{"seq":1,"prev":""}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Parse(line)
		if err != nil {
			return
		}
		again, err := encode(written{e.Seq, e.Prev, e.Event, e.MAC})
		if err != nil || !bytes.Equal(again, line) {
			t.Errorf("%q is read, and written as %q, %v", line, again, err)
		}
		if SeqOf(line) != e.Seq || peek(line).ID != e.ID {
			t.Errorf("%q: two readers find two entries", line)
		}
	})
}

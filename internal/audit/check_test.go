package audit

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestAChainThatIsAsItWasWritten(t *testing.T) {
	k := newKey(t)
	lines, head := chained(t, Head{}, 5)
	head = k.sign(t, head)
	r := Check(lines, CheckOptions{Head: &head, KeySet: k.Set, Whole: true, Anchor: &Anchor{3, HashLine(lines[2])}})
	if !r.OK || r.Entries != 5 || r.First != 1 || r.Last != 5 || !r.Anchored || !r.SignedAt.Equal(began) || r.SignedBy != k.KeyID() || len(r.Notes) > 0 {
		t.Errorf("%+v", r)
	}
	if !r.From.Equal(event(1).At) || !r.To.Equal(event(5).At) {
		t.Errorf("from %s to %s", r.From, r.To)
	}
	// A part of it, after an anchor that is its own beginning.
	if r := Check(lines[2:], CheckOptions{Head: &head, Anchor: &Anchor{2, HashLine(lines[1])}}); !r.OK || !r.Anchored || r.First != 3 {
		t.Errorf("%+v", r)
	}
	if r := Check(nil, CheckOptions{Head: &Head{}, Whole: true}); !r.OK {
		t.Errorf("empty: %+v", r)
	}
}

// Whatever byte is changed, to whatever: the entry that it is in is named.
func TestAByteThatIsChangedIsNamed(t *testing.T) {
	lines, head := chained(t, Head{}, 4)
	for at, line := range lines {
		for i := range line {
			for _, to := range []byte{line[i] ^ 1, line[i] ^ 0x20, '\n', '0', '"', ' ', 0xff} {
				if to == line[i] {
					continue
				}
				changed := clone(lines)
				changed[at][i] = to
				r := Check(changed, CheckOptions{Head: &head, Whole: true})
				if len(r.Problems) != 1 || r.Problems[0].Seq != uint64(at+1) || r.Problems[0].Fault != Changed || r.Problems[0].Line != at+1 {
					t.Fatalf("entry %d, byte %d, %q for %q: %+v", at+1, i, to, line[i], r.Problems)
				}
			}
		}
	}
}

func TestFaultsAreNamed(t *testing.T) {
	k := newKey(t)
	lines, head := chained(t, Head{}, 8)
	head = k.sign(t, head)
	without := func(at ...int) [][]byte {
		var left [][]byte
		for i, line := range lines {
			if !slices.Contains(at, i+1) {
				left = append(left, line)
			}
		}
		return left
	}
	swapped := func(a, b int) [][]byte {
		all := slices.Clone(lines)
		all[a-1], all[b-1] = all[b-1], all[a-1]
		return all
	}
	for name, c := range map[string]struct {
		lines [][]byte
		want  []string
	}{
		"one is missing":          {without(4), []string{"missing 4-4"}},
		"three are missing":       {without(4, 5, 6), []string{"missing 4-6"}},
		"two places":              {without(2, 6), []string{"missing 2-2", "missing 6-6"}},
		"the last is missing":     {without(8), []string{"cut_off 8-8"}},
		"the last three":          {without(6, 7, 8), []string{"cut_off 6-8"}},
		"all are missing":         {nil, []string{"cut_off 1-8"}},
		"the first is missing":    {without(1), []string{"no_beginning 1-1"}},
		"two are swapped":         {swapped(3, 4), []string{"out_of_order 4-0", "out_of_order 3-0"}},
		"the first two":           {swapped(1, 2), []string{"out_of_order 2-0", "out_of_order 1-0"}},
		"two far apart":           {swapped(2, 6), []string{"out_of_order 6-0", "out_of_order 2-0"}},
		"the last two":            {swapped(7, 8), []string{"out_of_order 8-0", "out_of_order 7-0"}},
		"one is there twice":      {slices.Insert(slices.Clone(lines), 3, lines[2]), []string{"twice 3-0"}},
		"one is there again":      {slices.Insert(slices.Clone(lines), 6, lines[2]), []string{"twice 3-0"}},
		"something in between":    {slices.Insert(slices.Clone(lines), 3, []byte("hello")), []string{"changed 4-0"}},
		"of another chain":        {slices.Replace(slices.Clone(lines), 3, 4, other(t, lines[2], 4)), []string{"changed 4-0"}},
		"a line beyond the head":  {append(slices.Clone(lines), other(t, lines[7], 9)), []string{"changed 9-9"}},
		"changed, and one is off": {slices.Replace(without(7), 1, 2, other(t, lines[0], 2)), []string{"changed 2-0", "missing 7-7"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Check(c.lines, CheckOptions{Head: &head, KeySet: k.Set, Whole: true})
			var got []string
			for _, p := range r.Problems {
				got = append(got, fmt.Sprintf("%s %d-%d", p.Fault, p.Seq, p.To))
				if p.What == "" || p.Means == "" {
					t.Errorf("nothing is said: %+v", p)
				}
			}
			if r.OK || len(got) == 0 || got[0] != c.want[0] {
				t.Errorf("expected %v, found %v", c.want, r.Problems)
			}
			if !strings.HasPrefix(c.want[0], "changed 4") && len(got) != len(c.want) {
				t.Errorf("expected %v, found %v", c.want, r.Problems)
			}
		})
	}
}

// other is an entry as somebody who may write the store, but was not there, would
// forge it.
func other(t *testing.T, before []byte, seq uint64) []byte {
	t.Helper()
	e, err := Encode(Head{Seq: seq - 1, Hash: HashLine(before)}, Event{ID: "forged", Type: TypeAsked, Actor: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	return e.Line
}

// Who can write the store can write a whole chain anew, with a head. He does not
// have the signing key, and others have earlier exports.
func TestAChainThatIsWrittenAnew(t *testing.T) {
	k := newKey(t)
	lines, head := chained(t, Head{}, 6)
	head = k.sign(t, head)
	anew := append(slices.Clone(lines[:2]), other(t, lines[1], 3))
	end := Head{Seq: 3, Hash: HashLine(anew[2])}
	rest, end := chained(t, end, 3)
	anew = append(anew, rest...)

	fault := func(o CheckOptions) string {
		r := Check(anew, o)
		if r.OK || len(r.Problems) != 1 {
			return fmt.Sprintf("%+v", r.Problems)
		}
		return fmt.Sprintf("%s %d", r.Problems[0].Fault, r.Problems[0].Seq)
	}
	if got := fault(CheckOptions{Head: &end, Anchor: &Anchor{5, HashLine(lines[4])}}); got != "rewritten 5" {
		t.Error(got)
	}
	if got := fault(CheckOptions{Head: &end, Anchor: &Anchor{9, HashLine(lines[4])}}); got != "cut_off 7" {
		t.Error(got)
	}
	for name, signature := range map[string]string{
		"the old head's":   head.Signature,
		"another key's":    newKey(t).sign(t, end).Signature,
		"none that is one": "x.y.z",
		"alg none":         base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"`+HeadType+`"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + ".",
		"another type":     another(t, k, end, "JWT"),
		"without a type":   another(t, k, end, ""),
	} {
		end.Signature = signature
		want := "forged 6"
		if name == "another key's" {
			want = "unknown_key 6"
		}
		if got := fault(CheckOptions{Head: &end, KeySet: k.Set}); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	// Another key under the right kid.
	bad := newKey(t)
	end = bad.sign(t, end)
	if got := fault(CheckOptions{Head: &end, KeySet: bytes.ReplaceAll(k.Set, []byte(k.KeyID()), []byte(bad.KeyID()))}); got != "forged 6" {
		t.Error(got)
	}
	if r := Check(anew, CheckOptions{Head: &end}); !r.OK || len(r.Notes) != 1 {
		t.Errorf("expected to be told that nothing was checked: %+v", r)
	}
}

func another(t *testing.T, k key, h Head, typ string) string {
	t.Helper()
	signature, err := k.Sign(claimsOf(h, began), typ, nil)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// What retention has dropped is told in the chain; what somebody else has, is not.
func TestABeginningThatWasDropped(t *testing.T) {
	lines, head := chained(t, Head{}, 6)
	told, err := Encode(head, droppedEvent(4, HashLine(lines[2]), 0))
	if err != nil {
		t.Fatal(err)
	}
	lines = append(lines, told.Line)
	head = Head{told.Seq, told.Hash(), ""}
	if r := Check(lines[3:], CheckOptions{Head: &head, Whole: true}); !r.OK {
		t.Errorf("%+v", r.Problems)
	}
	r := Check(lines[4:], CheckOptions{Head: &head, Whole: true})
	if len(r.Problems) != 1 || r.Problems[0].Fault != NoBegin || r.Problems[0].Seq != 4 || r.Problems[0].To != 4 {
		t.Errorf("%+v", r.Problems)
	}
	if r := Check(lines[4:], CheckOptions{Head: &head}); !r.OK {
		t.Errorf("a part of it: %+v", r.Problems)
	}
}

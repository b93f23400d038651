package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// Who takes entries away and adds one that says that they were old passes the signed
// end, if it is signed over that; not who has kept an earlier end.
func TestAnAnchorThatIsGone(t *testing.T) {
	k := newKey(t)
	lines, head := chained(t, Head{}, 8)
	anchor := &Anchor{3, HashLine(lines[2])}
	said, err := Encode(head, Event{ID: "dropped/6", At: began, Type: TypeDropped, Data: json.RawMessage(`{"before":6,"hash":"` + HashLine(lines[4]) + `"}`)})
	if err != nil {
		t.Fatal(err)
	}
	left := append(clone(lines)[5:], said.Line)
	end := k.sign(t, Head{Seq: said.Seq, Hash: said.Hash()})
	o := CheckOptions{Head: &end, KeySet: k.Set, Whole: true, Anchor: anchor}
	r := Check(left, o)
	if r.OK || r.Anchored || faults(r) != string(AnchorGone) || r.Problems[0].Seq != 3 || !strings.Contains(r.Problems[0].What, "begin with entry 6") {
		t.Errorf("%+v", r)
	}
	o.Part = &Part{Since: began.Add(time.Minute), First: 6, Last: 9}
	if o.Whole = false; Check(left, o).OK {
		t.Error("a part passes for what goes back to the anchor")
	}
	o.Part, o.Whole, o.AnchorMayBeGone = nil, true, true
	if r := Check(left, o); !r.OK || r.Anchored || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "entry 3") }) {
		t.Errorf("%+v", r)
	}
}

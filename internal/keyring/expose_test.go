package keyring

import (
	"testing"
)

// Somebody said that a version is compromised when there was none to take its
// place. That is known until it has ended, whatever comes between.
func TestExposed(t *testing.T) {
	must := func(r Ring, err error) Ring {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	add := func(r Ring, id string) Ring { return must(r.Add(Candidate{ID: id, Value: value(id)}, began)) }
	r := ringOf(t, version("b", Active), version("a", Retiring))
	if r.Urgent() {
		t.Error("urgent without a reason")
	}
	exposed := must(r.Expose("b"))
	if !exposed.Urgent() || Same(exposed, r) {
		t.Error("what comes next does not take over")
	}
	if r := must(add(exposed, "c").Reject("c")); !add(r, "d").Urgent() {
		t.Error("forgotten when the first that came was rejected")
	}
	if r := must(add(exposed, "c").Supersede("c", began)); !add(r, "d").Urgent() {
		t.Error("forgotten when the first that came was replaced")
	}
	if back := must(exposed.RollBack(began)); !back.Urgent() {
		t.Error("forgotten when it was rolled back")
	}
	for name, over := range map[string]Ring{
		"compromise": must(add(exposed, "c").Compromise("c", began)),
		"condemn":    must(add(exposed, "c").Condemn("c", began)),
		"retired":    must(must(add(exposed, "c").Activate("c", began)).Retire("b")),
	} {
		if v, _ := over.Find("b"); over.Urgent() || !v.Compromised || v.Exposed {
			t.Errorf("%s: urgent %v, b %+v", name, over.Urgent(), v)
		}
	}
	if v, ok := must(add(exposed, "c").Activate("c", began)).Previous(); !ok || v.ID != "a" {
		t.Errorf("a rollback would bring back %s", v.ID)
	}
	if _, err := r.Expose("x"); err == nil {
		t.Error("exposed what is not there")
	}
	if _, err := New("k", version("b", Active), Version{ID: "a", State: Retired, Exposed: true}); err == nil {
		t.Error("what is over is exposed")
	}
}

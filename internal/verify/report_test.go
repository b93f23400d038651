package verify_test

import (
	"testing"
	"time"

	"keyway/internal/verify"
)

// A look at one secret does not hide what was found of the others.
func TestRenewed(t *testing.T) {
	whole := verify.Report{At: time.Unix(1, 0), Checks: []verify.Check{{ID: "a", OK: true}, {ID: "b", OK: false, Saw: "old"}, {ID: "c", OK: true}}}
	part := verify.Report{At: time.Unix(2, 0), OK: true, Checks: []verify.Check{{ID: "c", OK: true, Saw: "new"}, {ID: "d", OK: true}}}
	r := whole.Renewed(part)
	if r.OK || len(r.Checks) != 4 || r.Checks[1].Saw != "old" || r.Checks[2].Saw != "new" || !r.At.Equal(part.At) {
		t.Errorf("found %+v", r)
	}
	if r = r.Renewed(verify.Report{OK: true, Checks: []verify.Check{{ID: "b", OK: true}}}); !r.OK {
		t.Errorf("once all are good: %+v", r)
	}
	if whole.Checks[2].Saw != "" {
		t.Error("the older report was changed")
	}
}

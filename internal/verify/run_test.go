package verify

import (
	"context"
	"encoding/xml"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// says fails the test unless a finding has all of the words in what it says, and a
// failure has a cause and a cure.
func says(t *testing.T, f finding, ok bool, words ...string) {
	t.Helper()
	text := f.saw + " | " + f.cause + " | " + f.cure
	if f.ok != ok {
		t.Errorf("ok is %v, and should be %v: %s", f.ok, ok, text)
	}
	if !f.ok && (f.saw == "" || f.cause == "" || f.cure == "") {
		t.Errorf("expected what was seen, a cause and a cure; found %q", text)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("expected %q in %q", word, text)
		}
	}
}

// Checks run beside each other, a few at a time, each within its bound, and come out
// in their order.
func TestChecksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		var steps []step
		for _, id := range strings.Split("a b c d e f g h i j k l m n o p q r s t", " ") {
			steps = append(steps, step{id, id, nil, func(ctx context.Context) finding {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				<-ctx.Done() // it hangs
				mu.Lock()
				now--
				mu.Unlock()
				return bad("nothing came")
			}})
		}
		began := time.Now()
		r := runAll(t.Context(), steps)
		if took := time.Since(began); took != 4*within || most != beside {
			t.Errorf("20 checks that hang: %v, %d at a time", took, most)
		}
		ids := ""
		for _, c := range r.Checks {
			ids += c.ID
			if c.OK || c.TookMS != within.Milliseconds() || !strings.Contains(c.Cause, "did not answer within 5s") || c.Cure == "" {
				t.Errorf("%+v", c)
			}
		}
		if ids != "abcdefghijklmnopqrst" || r.OK {
			t.Errorf("%s, ok %v", ids, r.OK)
		}
	})
}

func TestADefectOfACheckEndsNobody(t *testing.T) {
	r := runAll(t.Context(), []step{
		{"broken", "", nil, func(context.Context) finding { panic("a value that must not be shown") }},
		{"forgets to say", "", nil, func(context.Context) finding { return finding{} }},
		{"good", "", nil, func(context.Context) finding { return good("yes").because("left over", "left over") }},
		{"speaks in tongues", "", nil, func(context.Context) finding { return bad("\x1b[2J\u2028%s", strings.Repeat("x", 2*maxText)) }},
	})
	for i, ok := range []bool{false, false, true, false} {
		if r.Checks[i].OK != ok {
			t.Errorf("%+v", r.Checks[i])
		}
	}
	if c := r.Checks[0]; !strings.Contains(c.Cause, "a defect of Keyway") || strings.Contains(c.Saw+c.Cause, "must not be shown") {
		t.Errorf("%+v", c)
	}
	if c := r.Checks[2]; c.Cause != "" || c.Cure != "" {
		t.Errorf("a good check has a cause: %+v", c)
	}
	if saw := r.Checks[3].Saw; strings.ContainsAny(saw, "\x1b\u2028") || len(saw) > maxText+10 {
		t.Errorf("%q", saw)
	}
	if failed := r.Failed(); len(failed) != 3 || r.OK {
		t.Errorf("%d failed, ok %v", len(failed), r.OK)
	}
}

func TestReportsAreJoined(t *testing.T) {
	inside := Report{OK: true, Checks: []Check{{ID: "a", OK: true}}, Replica: "r"}
	both := inside.And(Report{OK: false, Checks: []Check{{ID: "b"}}})
	if both.OK || len(both.Checks) != 2 || both.Replica != "r" || len(inside.Checks) != 1 {
		t.Errorf("%+v", both)
	}
	if c, found := both.Find("b"); !found || c.OK {
		t.Errorf("%+v %v", c, found)
	}
	if _, found := both.Find("c"); found {
		t.Error("found what is not there")
	}
}

func TestJUnit(t *testing.T) {
	var b strings.Builder
	err := WriteJUnit(&b, Report{At: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), Checks: []Check{
		{ID: "good", Name: "one", OK: true, Saw: "it is", TookMS: 1500},
		{ID: "credentials.a/b", Name: "<two>", Saw: `"no" & no`, Cause: "because", Cure: "do"},
		{ID: "third", Name: "three", OK: true, Skipped: true, Saw: "not here"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<testsuites tests="3" failures="1" skipped="1">`, `time="1.5"`, `timestamp="2026-11-23T02:00:00Z"`, `classname="keyway.credentials.a_b"`,
		`name="&lt;two&gt;"`, "cause: because", "<skipped message=\"not here\">", "<system-out>it is</system-out>",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("expected %s in\n%s", want, b.String())
		}
	}
	if err := xml.Unmarshal([]byte(b.String()), &junit{}); err != nil {
		t.Error(err)
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 2, 0, 0, time.FixedZone("", 3600))
	if got := at(now, now); got != "13:02:00 UTC" {
		t.Error(got)
	}
	if got := at(now.Add(-24*time.Hour), now); got != "2026-11-22 13:02 UTC" {
		t.Error(got)
	}
	for d, want := range map[time.Duration]string{90 * time.Second: "90 s", 5 * time.Minute: "5 min", -3 * time.Hour: "3 h", 72 * time.Hour: "3 days"} {
		if got := span(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// What peers say stays one line that reads as it is kept.
func TestWhatPeersSayIsTidied(t *testing.T) {
	for _, r := range []rune{'\n', '\x1b', '\x7f', '\u009b', '\u2028', '\u061c', '\u200f', '\u202e', '\u2066', '\u2069'} {
		if got := tidy("a" + string(r) + "b"); got != "a b" {
			t.Errorf("%U: %q", r, got)
		}
	}
}

package session

import (
	"testing"
	"time"
)

func TestWhatAMarkEnds(t *testing.T) {
	second := time.Unix(1_800_000_000, 0)
	until, now := markOf(second, second.Add(time.Minute)), markOf(time.Time{}, second.Add(400*time.Millisecond))
	rec := func(issued, created time.Time) Record { return Record{IssuedAt: issued, CreatedAt: created} }
	after := second.Add(time.Hour)
	for name, tc := range map[string]struct {
		mark mark
		rec  Record
		ends bool
	}{
		"issued at until":                     {until, rec(second, after), true},
		"issued a second later":               {until, rec(second.Add(time.Second), after), false},
		"that it does not say when":           {until, rec(time.Time{}, second.Add(500*time.Millisecond)), true},
		"that it does not say when, later":    {until, rec(time.Time{}, second.Add(time.Second)), false},
		"now: issued a second before":         {now, rec(second.Add(-time.Second), after), true},
		"now: issued and created this second": {now, rec(second, second.Add(500*time.Millisecond)), false},
		"now: created before":                 {now, rec(second.Add(time.Hour), second.Add(300*time.Millisecond)), true},
		"both: by the first":                  {until.and(now), rec(second, after), true},
		"both: by the second":                 {until.and(now), rec(after, second), true},
		"both: neither":                       {until.and(now), rec(after, after), false},
	} {
		if tc.mark.ends(tc.rec) != tc.ends {
			t.Errorf("%s: ends %v", name, !tc.ends)
		}
	}
	if both := until.and(now); !both.covers(until) || !both.covers(now) || until.covers(now) || now.covers(until) {
		t.Error("covers")
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add("1800000000000,0")
	f.Add("-1,5")
	f.Add("1")
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := parseMark(s)
		if !ok {
			return
		}
		if again, ok := parseMark(a.String()); !ok || again != a {
			t.Errorf("%q: %v, then %v", s, a, again)
		}
	})
}

// No two lists of parts are one, and none can pass for a cookie's id.
func FuzzGroupNames(f *testing.F) {
	f.Add("https://idp", "ada", "https://idpa", "da")
	f.Add("", "\x00\x00\x00\x00\x00\x00\x00\x01a", "a", "")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		one, two := group{bySubject, []string{a, b}}.data(), group{bySubject, []string{c, d}}.data()
		if (string(one) == string(two)) != (a == c && b == d) {
			t.Errorf("%q, %q and %q, %q", a, b, c, d)
		}
		if string(group{bySID, []string{a, b}}.data()) == string(one) || len(one) <= idBytes {
			t.Errorf("%q, %q passes for something else", a, b)
		}
	})
}

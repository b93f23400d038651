package session

import (
	"testing"
	"time"
)

func TestWhatAMarkEnds(t *testing.T) {
	second := time.Unix(1_800_000_000, 0)
	ms := func(n int) time.Time { return second.Add(time.Duration(n) * time.Millisecond) }
	until, now := markOf(second, ms(300)), markOf(time.Time{}, ms(400))
	late := markOf(second, ms(60_000))
	before := mark{issued: second.UnixMilli()} // of a release that did not know when it was told
	rec := func(issued, created, began time.Time) Record {
		return Record{IssuedAt: issued, CreatedAt: created, BegunAt: began}
	}
	after, unknown := second.Add(time.Hour), time.Time{}
	for name, tc := range map[string]struct {
		mark mark
		rec  Record
		ends bool
	}{
		"issued at until":                             {until, rec(second, after, unknown), true},
		"issued at until, begun before":               {until, rec(second, after, ms(299)), true},
		"issued at until, begun when it was told":     {until, rec(second, after, ms(300)), true},
		"issued at until, begun after":                {until, rec(second, after, ms(301)), false},
		"issued at until, told late":                  {late, rec(second, ms(500), ms(400)), true},
		"issued before, begun after":                  {until, rec(ms(-1000), after, ms(301)), true},
		"issued a second later":                       {until, rec(ms(1000), after, unknown), false},
		"issued a second later, begun before":         {until, rec(ms(1000), after, ms(100)), false},
		"that it does not say when":                   {until, rec(unknown, ms(500), unknown), true},
		"that it does not say when, later":            {until, rec(unknown, ms(1000), unknown), false},
		"an old mark: issued at until":                {before, rec(second, after, ms(301)), true},
		"now: issued a second before":                 {now, rec(ms(-1000), after, unknown), true},
		"now: issued and created this second":         {now, rec(second, ms(500), unknown), false},
		"now: created before":                         {now, rec(after, ms(300), unknown), true},
		"now: issued this second, begun before":       {now, rec(second, ms(500), ms(300)), true},
		"now: issued this second, begun after":        {now, rec(second, ms(500), ms(401)), false},
		"now: begun before, and issued a while after": {now, rec(ms(9000), ms(9500), ms(300)), false},
		"both: by the first":                          {until.and(now), rec(second, after, unknown), true},
		"both: by the second":                         {until.and(now), rec(after, second, unknown), true},
		"both: neither":                               {until.and(now), rec(after, after, unknown), false},
		"with an old one":                             {until.and(before), rec(second, after, ms(301)), true},
		"told of twice":                               {until.and(late), rec(second, after, ms(301)), true},
	} {
		if tc.mark.ends(tc.rec) != tc.ends {
			t.Errorf("%s: ends %v", name, !tc.ends)
		}
	}
	if both := until.and(now); !both.covers(until) || !both.covers(now) || until.covers(now) || now.covers(until) || until.covers(before) {
		t.Error("covers")
	}
}

// A release that does not know of told reads two numbers, and what was created at the
// second or before is ended: that must be nothing.
func TestAMarkIsReadByTheReleaseOfBefore(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for want, a := range map[string]mark{
		"1800000000000,-1800000000250": markOf(at, at.Add(250*time.Millisecond)),
		"1799999999999,1800000000250":  markOf(time.Time{}, at.Add(250*time.Millisecond)),
		"1800000000000,0":              {issued: at.UnixMilli()},
		"1800000000000,1800000000250":  markOf(at, at.Add(time.Second)).and(markOf(time.Time{}, at.Add(250*time.Millisecond))),
	} {
		if got := a.String(); got != want {
			t.Errorf("%+v is kept as %s, want %s", a, got, want)
		}
		if again, ok := parseMark(want); !ok || again != a {
			t.Errorf("%s is read as %+v, %v, want %+v", want, again, ok, a)
		}
	}
}

// What two marks are made into ends whatever either ends.
func FuzzMarksTogether(f *testing.F) {
	f.Add("1800000000000,-1800000000250", "1800000000000,0", int64(1800000000000), int64(1800000000900), int64(1800000000300))
	f.Add("1799999999999,1800000000250", "1800000000000,-1800000000250", int64(1800000000000), int64(1800000000900), int64(1800000000300))
	f.Add("1799999999999,1800000000250", "1800000001999,1800000002250", int64(1800000000000), int64(1800000009900), int64(1800000000100))
	f.Fuzz(func(t *testing.T, one, other string, issued, created, began int64) {
		a, ok := parseMark(one)
		b, ok2 := parseMark(other)
		const span = 4_000_000_000_000
		for _, n := range []int64{a.issued, a.created, a.told, b.issued, b.created, b.told, issued, created, began} {
			if n < 0 || n > span {
				return // no date
			}
		}
		// As EndAll leaves them: with created, all that was issued before its second is ended.
		for _, m := range []mark{a, b} {
			if m.created != 0 && m.issued < m.created/1000*1000-1 {
				return
			}
		}
		if !ok || !ok2 || issued == 0 || created < began {
			return
		}
		r := Record{IssuedAt: time.UnixMilli(issued), CreatedAt: time.UnixMilli(created), BegunAt: fromMillis(began)}
		both := a.and(b)
		if (a.ends(r) || b.ends(r)) && !both.ends(r) {
			t.Errorf("%v and %v are %v, which spares %d, %d, %d", a, b, both, issued, created, began)
		}
		if both != b.and(a) || !both.covers(a) || !both.covers(b) {
			t.Errorf("%v and %v are %v", a, b, both)
		}
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add("1800000000000,0")
	f.Add("-1,5")
	f.Add("1800000000000,-1800000000250")
	f.Add("1,-9223372036854775808")
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

package bearer

import (
	"slices"
	"testing"

	"keyway/internal/route"
)

// What `check` and `routes explain` say of whose tokens are good for a route is what
// is done about the tokens.
func TestWhatIsSaidOfANeedIsWhatIsDone(t *testing.T) {
	entries := []Entry{
		{Name: "one", Issuer: "https://one.example.com", Audience: []string{"a", "b"}},
		{Name: "two", Issuer: "https://two.example.com", Audience: []string{"b"}},
		{Name: "three", Issuer: "https://three.example.com", Audience: []string{"c"}},
	}
	for name, c := range map[string]struct {
		need route.Need
		want map[string][]string // audiences by entry
	}{
		"any":                     {route.Need{}, map[string][]string{"one": {"a", "b"}, "two": {"b"}, "three": {"c"}}},
		"an entry":                {route.Need{IdPs: []string{"two"}}, map[string][]string{"two": {"b"}}},
		"an audience of two":      {route.Need{Audience: []string{"b"}}, map[string][]string{"one": {"b"}, "two": {"b"}}},
		"either":                  {route.Need{Audience: []string{"c", "a"}}, map[string][]string{"one": {"a"}, "three": {"c"}}},
		"both":                    {route.Need{Audience: []string{"b"}, IdPs: []string{"one", "three"}}, map[string][]string{"one": {"b"}}},
		"an entry without it":     {route.Need{Audience: []string{"a"}, IdPs: []string{"two"}}, nil},
		"another case":            {route.Need{IdPs: []string{"One"}}, nil},
		"an audience of nobody":   {route.Need{Audience: []string{"A"}}, nil},
		"scopes say nothing here": {route.Need{IdPs: []string{"two"}, Scopes: []string{"x"}}, map[string][]string{"two": {"b"}}},
	} {
		done := Need{Audience: c.need.Audience, Scopes: c.need.Scopes, IdPs: c.need.IdPs}
		for _, e := range entries {
			want := c.want[e.Name]
			if said := c.need.Accepts(e.Name, e.Audience); !slices.Equal(said, want) || done.accepts(&e) != (len(want) > 0) {
				t.Errorf("%s, %s: said %v, done %v, want %v", name, e.Name, said, done.accepts(&e), want)
			}
			for _, audience := range []string{"a", "b", "c"} {
				if is := done.accepts(&e) && done.isFor(&e, []string{audience}); is != slices.Contains(want, audience) {
					t.Errorf("%s, %s: a token for %s is good: %v", name, e.Name, audience, is)
				}
			}
		}
	}
	if (route.Need{}).Accepts("none", nil) != nil || (&Need{}).isFor(&Entry{Name: "none"}, []string{""}) {
		t.Error("an entry without an audience has tokens that are good")
	}
}

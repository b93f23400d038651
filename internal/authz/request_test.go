package authz

import (
	"encoding/json"
	"strings"
	"testing"

	"keyway/internal/threat"
)

func TestRequestsOfPages(t *testing.T) {
	const item = `"resource":{"type":"note","id":"7"}`
	const read = `"action":{"name":"read"}`
	for body, ok := range map[string]bool{
		`{` + read + `,` + item + `}`:                                                          true,
		`{` + read + `,"resource":{"type":"note","id":"*"}}`:                                   true,
		`{` + read + `,` + item + `,"context":[1],"evaluations":[]}`:                           true,
		`{"action":{"name":"read","properties":{}},` + item + `}`:                              true,
		`{"action":{"name":""},` + item + `}`:                                                  false,
		`{"action":{"name":"a\nb"},` + item + `}`:                                              false,
		`{"action":{"name":7},` + item + `}`:                                                   false,
		`{"action":"read",` + item + `}`:                                                       false,
		`{` + read + `,"resource":{"type":"note"}}`:                                            false,
		`{` + read + `,"resource":{"id":"7"}}`:                                                 false,
		`{` + read + `,"resource":{"type":"note","id":7}}`:                                     false,
		`{` + read + `,"resource":{"type":"note","id":"7","id":"8"}}`:                          false,
		`{` + read + `,"resource":null}`:                                                       false,
		`{` + read + `,"resource":{"type":"note","id":"7","properties":"x"}}`:                  false,
		`{` + read + `,"resource":{"type":"` + strings.Repeat("x", MaxName+1) + `","id":"7"}}`: false,
		`{"subject":{"type":"user"},` + read + `,` + item + `}`:                                false,
		`{"subject":"me",` + read + `,` + item + `}`:                                           false,
		`[]`: false, ``: false, `{}`: false,
	} {
		r, err := ParseRequest([]byte(body), true)
		if (err == nil) != ok || ok && len(r.Items) != 1 {
			t.Errorf("%s: got %+v, %v", body, r, err)
		}
	}
	r, err := ParseRequest([]byte(`{"subject":{"type":"user","id":"ada"},`+read+`,"resource":{"type":"note","id":"1","properties":{"n":1.50,"l":[null,true]}},
		"evaluations":[{},{"subject":{"type":"user","id":"eve"},"action":{"name":"update"}},{"resource":{"type":"x","id":"y"}}]}`), true)
	if err != nil || !r.Batch || r.Semantic != ExecuteAll || len(r.Items) != 3 || len(r.Subjects) != 3 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if r.Subjects[1].ID != "eve" || r.Items[1].Action != "update" || r.Items[0].Resource.Properties["n"] != json.Number("1.50") || r.Items[2].Resource.Type != "x" || r.Items[2].Resource.Properties != nil {
		t.Errorf("got %+v", r)
	}
}

// What is said for all is read once, however many leave it out: a page must not get
// hundreds of times its body in memory, nor of the time that this takes.
func TestWhatIsSaidForAllIsReadOnce(t *testing.T) {
	threat.Covers(t, 71)
	body := func(properties string) []byte {
		return []byte(`{"action":{"name":"a"},"resource":{"type":"t","id":"1","properties":{"a":[` + properties + `]}},
			"evaluations":[` + strings.TrimSuffix(strings.Repeat(`{},`, MaxBatch), ",") + `]}`)
	}
	members := strings.TrimSuffix(strings.Repeat("{},", MaxProperties/3-10), ",")
	allocated := func(body []byte) float64 {
		return testing.AllocsPerRun(3, func() {
			if _, err := ParseRequest(body, true); err != nil {
				t.Fatal(err)
			}
		})
	}
	if one, all := allocated(body(members)), allocated(body("")); one > all+30_000 {
		t.Errorf("%d times the same properties: %v allocations more", MaxBatch, one-all)
	}
	if _, err := ParseRequest(body(members+","+members), true); err == nil {
		t.Errorf("more than %d bytes of properties pass", MaxProperties)
	}
}

// Whatever comes, there is no question about nothing.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"subject":{"type":"user","id":"a"},"action":{"name":"read"},"resource":{"type":"note","id":"7","properties":{"a":[1]}},"evaluations":[{},{"action":{"name":"x"}}]}`), true)
	f.Add([]byte(`{"action":{"name":"read"},"resource":{"type":"note","id":"*"}}`), false)
	f.Fuzz(func(t *testing.T, body []byte, batch bool) {
		r, err := ParseRequest(body, batch)
		if err != nil {
			return
		}
		if len(r.Items) == 0 || len(r.Items) > MaxBatch || r.Batch && !batch {
			t.Fatalf("%d items", len(r.Items))
		}
		for _, item := range r.Items {
			if item.Action == "" || item.Resource.Type == "" || item.Resource.ID == "" {
				t.Errorf("a question about nothing: %+v", item)
			}
			if _, err := json.Marshal(item.Resource); err != nil {
				t.Error(err)
			}
		}
	})
}

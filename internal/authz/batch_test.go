package authz

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/principal"
	"keyway/internal/route"
	"keyway/internal/threat"
)

func TestSeveralQuestionsAtOnce(t *testing.T) {
	threat.Covers(t, 46)
	p := &point{answer: func(q Question) (Decision, error) { return Decision{Allow: q.Action.Name == "read"}, nil }}
	e := enforcer(t, p, nil)
	a := compiled(t, Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
	if v, err := e.Decide(t.Context(), &ada, a, factsOf(map[string]string{"id": "1"}, "", ""), Circumstances{}); !v.Allow || err != nil {
		t.Fatal(v, err)
	}
	items := []Item{{"read", Entity{Type: "note", ID: "1"}}, {"update", Entity{Type: "note", ID: "1"}}, {"read", AnyOf("note")}}
	for round, asked := range []int64{3, 3} {
		all, err := e.DecideAll(t.Context(), &ada, items, Circumstances{})
		if err != nil || len(all) != 3 || !all[0].Allow || all[1].Allow || !all[2].Allow {
			t.Fatalf("got %+v, %v", all, err)
		}
		if !all[0].Cached || all[1].Cached != (round == 1) || p.calls.Load() != asked {
			t.Errorf("round %d: got %+v, asked %d times", round, all, p.calls.Load())
		}
	}
	// What is remembered of several is remembered for one.
	if v, _ := e.Decide(t.Context(), &ada, compiled(t, Mapping{Resource: "note", Action: "read"}), factsOf(nil, "", ""), Circumstances{}); !v.Cached {
		t.Error("not remembered")
	}
	var many []Item
	for i := range MaxBatch*2 + 1 {
		many = append(many, Item{"read", Entity{Type: "note", ID: fmt.Sprint(i)}})
	}
	if all, err := e.DecideAll(t.Context(), &ada, many, Circumstances{}); err != nil || len(all) != len(many) || !all[len(many)-1].Allow || all[7].Resource.ID != "7" {
		t.Errorf("got %d, %v", len(all), err)
	}
}

// short answers fewer questions than it is asked, or panics.
type short struct {
	point
	panics bool
}

func (s *short) EvaluateAll(_ context.Context, qs []Question) ([]Decision, error) {
	if s.panics {
		panic("secret")
	}
	all := make([]Decision, len(qs)-1)
	for i := range all {
		all[i].Allow = true
	}
	return all, nil
}

func TestSeveralQuestionsWithoutAnAnswerAreDenied(t *testing.T) {
	threat.Covers(t, 48)
	items := []Item{{"read", AnyOf("note")}, {"update", AnyOf("note")}}
	for name, p := range map[string]PDP{
		"an error": &point{answer: func(q Question) (Decision, error) { return Decision{Allow: true}, errors.New("away") }},
		"too few":  &short{}, "a panic": &short{panics: true},
	} {
		all, err := enforcer(t, p, nil).DecideAll(t.Context(), &ada, items, Circumstances{})
		if err == nil || len(all) != 2 || all[0].Allow || all[1].Allow || all[0].Reason == "" {
			t.Errorf("%s: got %+v, %v", name, all, err)
		}
	}
}

// Of several batches one may be answered and the next not. What was decided is not told
// as undecided, as nobody asks about it again while it is remembered.
func TestSomeOfSeveralQuestionsAreDecided(t *testing.T) {
	p := &point{answer: func(q Question) (Decision, error) {
		if q.Resource.ID == "60" {
			return Decision{}, errors.New("away")
		}
		return Decision{Allow: q.Resource.ID != "7"}, nil
	}}
	e := enforcer(t, p, nil)
	var items []Item
	for i := range 70 {
		items = append(items, Item{"read", Entity{Type: "note", ID: fmt.Sprint(i)}})
	}
	all, err := e.DecideAll(t.Context(), &ada, items, Circumstances{})
	if err == nil {
		t.Fatal("no error")
	}
	for i := range all {
		if v := &all[i]; v.Undecided() != (i >= MaxBatch) || v.Allow != (i < MaxBatch && i != 7) {
			t.Errorf("%d: %+v", i, v)
		}
	}
	items[69].Resource.Properties = map[string]any{"x": func() {}} // that is no JSON
	for i, v := range first(e.DecideAll(t.Context(), &ada, items, Circumstances{})) {
		if v.Allow || !v.Undecided() || v.Resource.ID != fmt.Sprint(i) {
			t.Errorf("%d: %+v", i, v)
		}
	}
}

func first[T any](v T, _ error) T { return v }

func TestAChangeIsTold(t *testing.T) {
	e := enforcer(t, &point{}, nil)
	first := e.Changed()
	e.Forget()
	select {
	case <-first:
	default:
		t.Error("nobody is told of a change")
	}
	second := e.Changed()
	select {
	case <-second:
		t.Error("a change is told twice")
	default:
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(e.Forget)
	}
	wg.Wait()
	<-second
	last := e.Changed()
	e.Close()
	<-last
}

// A decision point that hangs is asked so many questions, and no more.
func TestQuestionsUnderWayAreBounded(t *testing.T) {
	threat.Covers(t, 48)
	synctest.Test(t, func(t *testing.T) {
		hang := &waiting{}
		e := enforcer(t, hang, func(o *Options) { o.Deadline, o.Waiting, o.WaitingEach = 2*time.Second, 10, 1000 })
		defer e.Close()
		a := compiled(t, Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
		var busy, late int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				v, err := e.Decide(t.Context(), &ada, a, factsOf(map[string]string{"id": fmt.Sprint(i)}, "", ""), Circumstances{})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case v.Allow:
					t.Error("allowed")
				case errors.Is(err, ErrBusy):
					busy++
				case errors.Is(err, context.DeadlineExceeded):
					late++
				default:
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if busy != 990 || late != 10 {
			t.Errorf("%d were refused at once, %d waited", busy, late)
		}
		if _, err := e.DecideAll(t.Context(), &ada, nil, Circumstances{}); err != nil {
			t.Error(err)
		}
	})
}

// Of those who ask at once while a decision point hangs, one alone does not take all
// that may wait.
func TestQuestionsOfOneSubjectAreBounded(t *testing.T) {
	threat.Covers(t, 48)
	synctest.Test(t, func(t *testing.T) {
		e := enforcer(t, &waiting{}, func(o *Options) { o.Deadline, o.Waiting, o.WaitingEach = 2*time.Second, 100, 7 })
		defer e.Close()
		a := compiled(t, Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
		grace := principal.Principal{Provider: "main", Subject: "grace", SessionID: "s2"}
		other := ada // another session of the same person is no way around it
		other.SessionID = "s3"
		var busy, late [2]atomic.Int64
		var wg sync.WaitGroup
		for i := range 300 {
			who, n := &ada, 0
			switch {
			case i%10 == 0:
				who, n = &grace, 1
			case i%10 == 1:
				who = &other
			}
			if n == 1 && i >= 50 {
				continue
			}
			wg.Go(func() {
				_, err := e.Decide(t.Context(), who, a, factsOf(map[string]string{"id": fmt.Sprint(i)}, "", ""), Circumstances{})
				if errors.Is(err, ErrBusy) {
					busy[n].Add(1)
				} else if errors.Is(err, context.DeadlineExceeded) {
					late[n].Add(1)
				}
			})
		}
		wg.Wait()
		if late[0].Load() != 7 || busy[0].Load() != 263 || late[1].Load() != 5 || busy[1].Load() != 0 {
			t.Errorf("ada: %d waited, %d did not; grace: %d and %d", late[0].Load(), busy[0].Load(), late[1].Load(), busy[1].Load())
		}
		// Who has his answers may ask again, and is not kept.
		if _, err := e.Decide(t.Context(), &ada, a, factsOf(map[string]string{"id": "x"}, "", ""), Circumstances{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if n := len(e.waits.of); n != 0 {
			t.Errorf("%d are kept", n)
		}
	})
}

func TestAsksByRouteAndMethod(t *testing.T) {
	table, err := route.NewTable([]route.Route{
		{ID: "a", Path: "/a", Authz: route.AuthzPDP, AuthzMap: map[string]route.Mapping{"GET": {Resource: "a", Action: "read"}, "POST": {Resource: "a", Action: "create"}}},
		{ID: "b", Path: "/b/{id}", Authz: route.AuthzPDP, Methods: []string{"GET"}, AuthzMap: map[string]route.Mapping{"GET": {Resource: "a", Action: "list"}}},
		{ID: "c", Path: "/c", AuthzMap: map[string]route.Mapping{"GET": {Resource: "c", Action: "read"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	asks := CompileAll(table, func(r *route.Route, method string) *Ask {
		m, ok := r.Mapping(method)
		if !ok {
			return nil
		}
		return compiled(t, Mapping(m))
	})
	routes := table.Routes()
	for _, c := range []struct {
		route  int
		method string
		want   string
	}{{0, "GET", "read"}, {0, "HEAD", "read"}, {0, "POST", "create"}, {0, "DELETE", ""}, {0, "get", ""}, {1, "GET", "list"}, {1, "POST", ""}, {2, "GET", ""}} {
		ask := asks.Of(routes[c.route], c.method)
		if got := ask; (got == nil) != (c.want == "") || got != nil && got.Action() != c.want {
			t.Errorf("%s of %s: got %v", c.method, routes[c.route], got)
		}
	}
	if got := fmt.Sprint(asks.Actions("a"), asks.Actions("c")); got != "[create list read] []" {
		t.Errorf("got %s", got)
	}
	var none *Asks
	if none.Of(routes[0], "GET") != nil || none.Actions("a") != nil {
		t.Error("no asks ask")
	}
}

// So is the id, where they all say the same.
func TestFixedIDOfAnAction(t *testing.T) {
	mapping := func(action, id string) map[string]route.Mapping {
		return map[string]route.Mapping{"POST": {Resource: "todo", Action: action, IDFrom: id}}
	}
	table, err := route.NewTable([]route.Route{
		{ID: "a", Path: "/a", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("create", "=todo-1")},
		{ID: "b", Path: "/b", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("create", "=todo-1")},
		{ID: "c", Path: "/c", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("list", "=todo-1")},
		{ID: "d", Path: "/d", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("list", "")},
		{ID: "e", Path: "/e/{id}", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("drop", "{id}")},
		{ID: "f", Path: "/f", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("drop", "=todo-1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	asks := CompileAll(table, func(r *route.Route, method string) *Ask {
		m, _ := r.Mapping(method)
		return compiled(t, Mapping(m))
	})
	var none *Asks
	for _, c := range []struct {
		asks         *Asks
		action, want string
	}{{asks, "create", "todo-1"}, {asks, "list", ""}, {asks, "drop", ""}, {asks, "fly", ""}, {none, "create", ""}} {
		if got := c.asks.FixedID("todo", c.action); got != c.want {
			t.Errorf("%s: %q, want %q", c.action, got, c.want)
		}
	}
}

// What an action's mappings agree on is known without a request.
func TestFixedPropertiesOfAnAction(t *testing.T) {
	mapping := func(action string, props map[string]string) map[string]route.Mapping {
		return map[string]route.Mapping{"POST": {Resource: "note", Action: action, Props: props}}
	}
	table, err := route.NewTable([]route.Route{
		{ID: "a", Path: "/a", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("create", map[string]string{"channel": "web", "kind": "long", "folder": "?folder"})},
		{ID: "b", Path: "/b", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("create", map[string]string{"channel": "web", "kind": "short", "size": "1"})},
		{ID: "c", Path: "/c", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("drop", map[string]string{"channel": "web"})},
		{ID: "d", Path: "/d", Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: mapping("drop", map[string]string{"channel": "?channel"})},
	})
	if err != nil {
		t.Fatal(err)
	}
	asks := CompileAll(table, func(r *route.Route, method string) *Ask {
		m, _ := r.Mapping(method)
		return compiled(t, Mapping(m))
	})
	var none *Asks
	if got := fmt.Sprint(asks.Fixed("note", "create"), asks.Fixed("note", "drop"), asks.Fixed("note", "fly"), none.Fixed("note", "create")); got != "map[channel:web] map[] map[] map[]" {
		t.Errorf("got %s", got)
	}
}

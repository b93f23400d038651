package authz

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/principal"
	"keyway/internal/threat"
)

// point is a PDP that says what it is told to, and keeps what it was asked.
type point struct {
	mu     sync.Mutex
	asked  []Question
	answer func(Question) (Decision, error)
	calls  atomic.Int64
}

func (p *point) Evaluate(ctx context.Context, q Question) (Decision, error) {
	p.calls.Add(1)
	p.mu.Lock()
	p.asked = append(p.asked, q)
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		return Decision{Allow: true}, nil
	}
	return answer(q)
}

func (p *point) EvaluateAll(ctx context.Context, qs []Question) (all []Decision, err error) {
	for _, q := range qs {
		d, err := p.Evaluate(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func enforcer(t testing.TB, p PDP, change func(*Options)) *Enforcer {
	t.Helper()
	o := Options{PDP: p, TTLAllow: 30 * time.Second, TTLDeny: 5 * time.Second, MaxSize: 1000}
	if change != nil {
		change(&o)
	}
	e, err := NewEnforcer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func compiled(t testing.TB, m Mapping) *Ask {
	t.Helper()
	a, err := Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var ada = principal.Principal{Provider: "main", Subject: "ada", SessionID: "s1", Roles: []string{"editor"}}

func TestDecisionsAreRememberedForTheirTime(t *testing.T) {
	threat.Covers(t, 47)
	synctest.Test(t, func(t *testing.T) {
		p := &point{}
		e := enforcer(t, p, nil)
		defer e.Close()
		a := compiled(t, Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
		decide := func(id string) Verdict {
			v, err := e.Decide(t.Context(), &ada, a, factsOf(map[string]string{"id": id}, "", ""), Circumstances{})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if v := decide("1"); !v.Allow || v.Cached {
			t.Fatalf("got %+v", v)
		}
		if v := decide("1"); !v.Allow || !v.Cached {
			t.Fatalf("again: got %+v", v)
		}
		p.answer = func(Question) (Decision, error) { return Decision{}, nil }
		time.Sleep(29 * time.Second)
		if v := decide("1"); !v.Allow {
			t.Error("forgotten before its time")
		}
		time.Sleep(2 * time.Second)
		if v := decide("1"); v.Allow || v.Cached {
			t.Errorf("an allow outlived its time: %+v", v)
		}
		time.Sleep(6 * time.Second)
		p.answer = nil
		if v := decide("1"); !v.Allow {
			t.Error("a deny outlived its time")
		}
		p.answer = func(Question) (Decision, error) { return Decision{}, nil }
		e.Forget()
		if v := decide("1"); v.Allow {
			t.Error("an allow outlived a change of the policies")
		}
	})
}

// Whatever differs makes another question.
func TestNoTwoQuestionsShareAnAnswer(t *testing.T) {
	threat.Covers(t, 46)
	type asked struct {
		who    principal.Principal
		m      Mapping
		params map[string]string
		body   string
		at     Circumstances
	}
	read := Mapping{Resource: "note", Action: "read", IDFrom: "{id}"}
	base := asked{who: ada, m: read, params: map[string]string{"id": "1"}}
	with := func(change func(*asked)) asked {
		a := base
		a.who.Roles = slices.Clone(a.who.Roles)
		change(&a)
		return a
	}
	all := []asked{
		base,
		with(func(a *asked) { a.params = map[string]string{"id": "2"} }),
		with(func(a *asked) { a.m.Action = "update" }),
		with(func(a *asked) { a.m.Resource = "notes" }),
		with(func(a *asked) { a.m.Resource, a.params = "note1", map[string]string{"id": "x"} }),
		with(func(a *asked) { a.who.Subject = "grace" }),
		with(func(a *asked) { a.who.Provider = "other" }),
		with(func(a *asked) { a.who.Provider, a.who.Subject = "mainada", "x" }),
		with(func(a *asked) { a.who.SessionID = "s2" }),
		with(func(a *asked) { a.who.Roles = nil }),
		with(func(a *asked) { a.who.Roles = []string{"editor", "admin"} }),
		with(func(a *asked) { a.who.Roles = []string{"editoradmin"} }),
		with(func(a *asked) { a.who.Roles, a.who.Permissions = nil, []string{"editor"} }),
		with(func(a *asked) { a.who.Roles, a.who.Scopes = nil, []string{"editor"} }),
		with(func(a *asked) { a.who.ClientID = "ada" }),
		with(func(a *asked) { a.who.Email = "ada@example.test" }),
		with(func(a *asked) { a.who.Name = "ada@example.test" }),
		with(func(a *asked) { a.who.AuthTime = time.Unix(1, 0) }),
		with(func(a *asked) { a.at.Address = netip.MustParseAddr("192.0.2.1") }),
		with(func(a *asked) { a.at.Address = netip.MustParseAddr("2001:db8::1") }),
		with(func(a *asked) { a.m.Props = map[string]string{"p": "x"} }),
		with(func(a *asked) { a.m.Props = map[string]string{"p": "$.p"}; a.body = `{"p":1}` }),
		with(func(a *asked) { a.m.Props = map[string]string{"p": "$.p"}; a.body = `{"p":"1"}` }),
		with(func(a *asked) { a.m.IDFrom = "" }),
	}
	p := &point{}
	e := enforcer(t, p, nil)
	for round, want := range []bool{false, true} {
		for i, q := range all {
			v, err := e.Decide(t.Context(), &q.who, compiled(t, q.m), factsOf(q.params, "", q.body), q.at)
			if err != nil || v.Cached != want {
				t.Errorf("round %d, question %d: cached %v, %v", round, i, v.Cached, err)
			}
		}
	}
	if n := p.calls.Load(); n != int64(len(all)) {
		t.Errorf("asked %d times about %d questions", n, len(all))
	}
}

func TestRolesThatChangeAreAnotherQuestion(t *testing.T) {
	threat.Covers(t, 49)
	p := &point{answer: func(q Question) (Decision, error) {
		return Decision{Allow: slices.Contains(q.Subject.Properties["roles"].([]string), "editor")}, nil
	}}
	e := enforcer(t, p, nil)
	a := compiled(t, Mapping{Resource: "note", Action: "update"})
	who := ada
	if v, _ := e.Decide(t.Context(), &who, a, factsOf(nil, "", ""), Circumstances{}); !v.Allow {
		t.Fatal("an editor may not")
	}
	who.Roles = nil // as after a refresh
	if v, _ := e.Decide(t.Context(), &who, a, factsOf(nil, "", ""), Circumstances{}); v.Allow {
		t.Error("the decision outlived the role")
	}
}

// A failure denies, and is asked about again.
func TestFailuresDenyAndAreNotRemembered(t *testing.T) {
	threat.Covers(t, 48)
	for _, local := range []bool{false, true} {
		t.Run(map[bool]string{false: "elsewhere", true: "here"}[local], func(t *testing.T) { failures(t, local) })
	}
}

func failures(t *testing.T, local bool) {
	p := &point{answer: func(Question) (Decision, error) { return Decision{Allow: true}, errors.New("half an answer") }}
	e := enforcer(t, p, func(o *Options) { o.Local = local })
	a := compiled(t, Mapping{Resource: "note", Action: "read"})
	for range 2 {
		if v, err := e.Decide(t.Context(), &ada, a, factsOf(nil, "", ""), Circumstances{}); v.Allow || err == nil || v.Reason == "" {
			t.Errorf("got %+v, %v", v, err)
		}
	}
	p.answer = func(Question) (Decision, error) { panic("secret") }
	if v, err := e.Decide(t.Context(), &ada, a, factsOf(nil, "", ""), Circumstances{}); v.Allow || !errors.Is(err, errDefect) {
		t.Errorf("got %+v, %v", v, err)
	}
	if n := p.calls.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
	p.answer = nil
	if v, err := e.Decide(t.Context(), &ada, a, factsOf(nil, "", ""), Circumstances{}); !v.Allow || err != nil {
		t.Errorf("got %+v, %v", v, err)
	}
}

// A hundred who ask the same wait for one answer, and one who leaves ends only
// its own wait.
func TestOneQuestionForAllWhoAskIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &point{answer: func(Question) (Decision, error) { time.Sleep(time.Second); return Decision{Allow: true}, nil }}
		e := enforcer(t, p, nil)
		defer e.Close()
		a := compiled(t, Mapping{Resource: "note", Action: "read"})
		gone, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		var wg sync.WaitGroup
		wg.Go(func() {
			if v, err := e.Decide(gone, &ada, a, factsOf(nil, "", ""), Circumstances{}); v.Allow || err == nil {
				t.Errorf("who left was told %+v, %v", v, err)
			}
		})
		for range 100 {
			wg.Go(func() {
				if v, err := e.Decide(t.Context(), &ada, a, factsOf(nil, "", ""), Circumstances{}); !v.Allow || err != nil {
					t.Errorf("got %+v, %v", v, err)
				}
			})
		}
		wg.Wait()
		if n := p.calls.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestAPDPThatHangsIsNotWaitedForLongerThanTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := &waiting{}
		e := enforcer(t, hang, func(o *Options) { o.Deadline = 2 * time.Second })
		defer e.Close()
		began := time.Now()
		v, err := e.Decide(t.Context(), &ada, compiled(t, Mapping{Resource: "note", Action: "read"}), factsOf(nil, "", ""), Circumstances{})
		if v.Allow || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("after %v: %+v, %v", time.Since(began), v, err)
		}
	})
}

type waiting struct{ point }

func (*waiting) Evaluate(ctx context.Context, _ Question) (Decision, error) {
	<-ctx.Done()
	return Decision{}, ctx.Err()
}

func TestACachedDecisionAllocatesNothing(t *testing.T) {
	e := enforcer(t, &point{}, nil)
	a := compiled(t, Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
	f, who := factsOf(map[string]string{"id": "1"}, "", ""), ada
	at := Circumstances{Address: netip.MustParseAddr("192.0.2.1"), CorrelationID: "c"}
	if n := testing.AllocsPerRun(200, func() {
		if v, err := e.Decide(context.Background(), &who, a, f, at); !v.Allow || err != nil {
			t.Fatal(err)
		}
	}); n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCached(b *testing.B) {
	e := enforcer(b, &point{}, nil)
	a := compiled(b, Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
	f, who := factsOf(map[string]string{"id": "1"}, "", ""), ada
	at := Circumstances{Address: netip.MustParseAddr("192.0.2.1"), CorrelationID: "c"}
	b.ReportAllocs()
	for b.Loop() {
		if v, _ := e.Decide(context.Background(), &who, a, f, at); !v.Allow {
			b.Fatal("denied")
		}
	}
}

package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/principal"
	"keyway/internal/threat"
)

// preparing is a decision point that prepares subjects, and allows who is prepared as
// an editor.
type preparing struct {
	prepared []Entity
	asked    []Question
	err      error
}

func (p *preparing) Prepare(subject Entity) (any, error) {
	p.prepared = append(p.prepared, subject)
	roles := subject.Properties["roles"].([]string)
	return len(roles) > 0 && roles[0] == "editor", p.err
}

func (p *preparing) Evaluate(_ context.Context, q Question) (Decision, error) {
	p.asked = append(p.asked, q)
	return Decision{Allow: q.Prepared == any(true)}, nil
}

func (p *preparing) EvaluateAll(context.Context, []Question) ([]Decision, error) {
	return nil, errors.New("not asked for")
}

// What was prepared of somebody is used for nobody else, and for him not when any
// claim has changed, whichever it is.
func TestWhatIsPreparedIsForTheSameClaims(t *testing.T) {
	threat.Covers(t, 49)
	p := &preparing{}
	e, err := NewEnforcer(Options{PDP: p, Local: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a := compiled(t, Mapping{Resource: "note", Action: "read"})
	decide := func(who principal.Principal) bool {
		t.Helper()
		v, err := e.Decide(t.Context(), &who, a, factsOf(nil, "", ""), Circumstances{})
		if err != nil {
			t.Fatal(err)
		}
		return v.Allow
	}
	who := principal.Principal{
		Provider: "demo", Subject: "s", Email: "e", Name: "n", SessionID: "1", ClientID: "c", AuthTime: time.Unix(1e9, 0),
		Roles: []string{"editor"}, Permissions: []string{"p"}, Scopes: []string{"x"},
	}
	for range 3 {
		if !decide(who) {
			t.Fatal("an editor is denied")
		}
	}
	if len(p.prepared) != 1 {
		t.Errorf("prepared %d times for the same claims", len(p.prepared))
	}
	fields := reflect.TypeFor[principal.Principal]()
	for i := range fields.NumField() {
		other := who
		switch f := reflect.ValueOf(&other).Elem().Field(i); f.Interface().(type) {
		case string:
			f.SetString("other")
		case []string:
			f.Set(reflect.ValueOf([]string{"other"}))
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(2e9, 0)))
		case bool: // RightsLapsed: nothing is decided at all
			f.SetBool(true)
			if v, err := e.Decide(t.Context(), &other, a, factsOf(nil, "", ""), Circumstances{}); err == nil || v.Allow {
				t.Errorf("decided with %s: %+v", fields.Field(i).Name, v)
			}
			continue
		default:
			t.Fatalf("%s is of a kind that this test does not know", fields.Field(i).Name)
		}
		before := len(p.prepared)
		if got := decide(other); got != (fields.Field(i).Name != "Roles") {
			t.Errorf("with another %s: allowed %v", fields.Field(i).Name, got)
		}
		if len(p.prepared) != before+1 {
			t.Errorf("with another %s what was prepared of before is used", fields.Field(i).Name)
		}
		decide(who)
	}
}

// Of what can't be prepared the decision point sees everything when it is asked.
func TestWhatCannotBePreparedIsAskedAbout(t *testing.T) {
	p := &preparing{err: errors.New("no word for it")}
	e, err := NewEnforcer(Options{PDP: p, Local: true, SubjectType: "identity"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a := compiled(t, Mapping{Resource: "note", Action: "read"})
	if _, err := e.Decide(t.Context(), &ada, a, factsOf(nil, "", ""), Circumstances{}); err != nil || p.asked[0].Subject.Type != "identity" || p.asked[0].Subject.ID != ada.Account() {
		t.Errorf("asked %+v, %v", p.asked, err)
	}
}

// Nobody is kept in memory for longer than a minute after it was made.
func TestSubjectsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &preparing{}
		s := newSubjects(naming{SubjectAccount, SubjectUser}, p)
		defer s.close()
		first := s.get(&ada)
		if s.get(&ada) != first {
			t.Error("made again at once")
		}
		time.Sleep(subjectsKept + 2*time.Second)
		if s.get(&ada) == first || len(p.prepared) != 2 {
			t.Error("still there")
		}
	})
}

// The context goes out in the words of AuthZEN: a time in whole seconds, and an
// address without what only this machine knows about it.
func TestTheContextInWords(t *testing.T) {
	p := &preparing{}
	now := time.Date(2026, 11, 23, 1, 2, 3, 456_789_000, time.FixedZone("", 3600))
	e, err := NewEnforcer(Options{PDP: p, Local: true, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a := compiled(t, Mapping{Resource: "note", Action: "read"})
	for address, want := range map[string]string{
		"fe80::1%eth0":     `{"time":"2026-11-23T00:02:03Z","ip":"fe80::1","correlation_id":"c"}`,
		"::ffff:192.0.2.1": `{"time":"2026-11-23T00:02:03Z","ip":"192.0.2.1","correlation_id":"c"}`,
		"":                 `{"time":"2026-11-23T00:02:03Z","correlation_id":"c"}`,
	} {
		at := Circumstances{CorrelationID: "c"}
		if address != "" {
			at.Address = netip.MustParseAddr(address)
		}
		if _, err := e.Decide(t.Context(), &ada, a, factsOf(nil, "", ""), at); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(p.asked[len(p.asked)-1].Context)
		if err != nil || string(got) != want {
			t.Errorf("from %q: got %s, %v", address, got, err)
		}
	}
	if got, err := json.Marshal(Question{}); err != nil || string(got) != `{"subject":{"type":"","id":""},"action":{"name":""},"resource":{"type":"","id":""}}` {
		t.Errorf("without a context: got %s, %v", got, err)
	}
}

// What is kept is bounded in bytes: people with hundreds of groups are no fewer than
// others, and each takes fifty times as much.
func TestSubjectsAreBoundedInMemory(t *testing.T) {
	threat.Covers(t, 71)
	groups := make([]string, principal.MaxRights)
	for i := range groups {
		groups[i] = fmt.Sprint("cn=a-group-with-a-long-name-", i)
	}
	for name, c := range map[string]struct {
		roles       []string
		least, most int
	}{
		"few roles":  {groups[:3], 3000, 3000},
		"many roles": {groups, 100, subjectsMemory / (100 * len(groups))},
	} {
		s := newSubjects(naming{SubjectAccount, SubjectUser}, &preparing{})
		defer s.close()
		for i := range 3000 {
			s.get(&principal.Principal{Provider: "demo", Subject: fmt.Sprint(i), Roles: c.roles, Permissions: c.roles})
		}
		s.known.CleanUp()
		if n := s.known.EstimatedSize(); n < c.least || n > c.most {
			t.Errorf("%s: %d of 3000 are kept, want %d to %d", name, n, c.least, c.most)
		}
	}
}

package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/principal"
	"keyway/internal/route"
)

type always struct{}

func (always) Evaluate(context.Context, authz.Question) (authz.Decision, error) {
	return authz.Decision{Allow: true, Reason: "permitted by editors"}, nil
}

func (always) EvaluateAll(_ context.Context, qs []authz.Question) ([]authz.Decision, error) {
	return make([]authz.Decision, len(qs)), nil
}

// deciding is a call whose decision is remembered.
func deciding(t testing.TB) (*call, question, *route.Match) {
	t.Helper()
	table, err := route.NewTable([]route.Route{{ID: "note", Path: "/api/notes/{id}", Auth: route.AuthSession, Authz: route.AuthzPDP,
		AuthzMap: map[string]route.Mapping{"GET": {Resource: "note", Action: "read", IDFrom: "{id}"}}}})
	if err != nil {
		t.Fatal(err)
	}
	enforcer, err := authz.NewEnforcer(authz.Options{PDP: always{}, TTLAllow: time.Hour, MaxSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(enforcer.Close)
	asks := authz.CompileAll(table, func(r *route.Route, method string) *authz.Ask {
		m, ok := r.Mapping(method)
		if !ok {
			return nil
		}
		ask, err := authz.Compile(authz.Mapping(m))
		if err != nil {
			t.Fatal(err)
		}
		return ask
	})
	events := 0
	c := &call{
		gateway: &Gateway{onDecision: func(e authz.Event) { events++ }}, r: &http.Request{}, id: "0123456789abcdef0123456789abcdef",
		gen:    &Generation{Parts: Parts{Routes: table, Authz: enforcer, Asks: asks}},
		client: Client{Addr: netip.MustParseAddr("192.0.2.1")},
		who:    principal.Principal{Provider: "main", Subject: "ada", Email: "ada@example.test", Name: "Ada", SessionID: "uA_ydmAjyjLWHGM3S-YZWw", Roles: []string{"editor", "admin"}},
	}
	match, outcome := table.Match("GET", "/api/notes/7")
	if outcome != route.Found {
		t.Fatal(outcome)
	}
	return c, question{method: "GET", path: "/api/notes/7"}, &match
}

// What a remembered decision adds to a proxied call.
func TestARememberedDecisionAllocatesNothing(t *testing.T) {
	c, q, match := deciding(t)
	if n := testing.AllocsPerRun(500, func() {
		if _, err := c.authorize(q, match); err != nil {
			t.Fatal(err)
		}
	}); n > allocations {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRememberedDecision(b *testing.B) {
	c, q, match := deciding(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.authorize(q, match); err != nil {
			b.Fatal(err)
		}
	}
}

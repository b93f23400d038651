package gateway_test

import (
	"fmt"
	"testing"

	"keyway/internal/route"
)

// Where each call of an action is about one id, so is what a page asks of it: it gets
// the answer that the call has.
func TestAPageAsksAboutTheIDThatCallsHave(t *testing.T) {
	p := &point{}
	w := start(t, func(w *world) {
		for path, m := range map[string]route.Mapping{
			"/api/todos":      {Resource: "todo", Action: "create", IDFrom: "=todo-1"},
			"/api/todos/{id}": {Resource: "todo", Action: "drop", IDFrom: "{id}"},
		} {
			w.routes = append(w.routes, route.Route{ID: m.Action, Path: path, Service: "api", Auth: route.AuthSession, Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: map[string]route.Mapping{"POST": m}})
		}
	}, decidedBy(p))
	u := w.user().signIn()
	for query, want := range map[string]string{"": "map[create:todo-1 drop:*]", "&id=7": "map[create:todo-1 drop:7]"} {
		p.enforcer.Forget()
		before := len(p.questions())
		if got := u.do("GET", "/auth/capabilities?resource=todo"+query); got.status != 200 {
			t.Fatalf("%s: %d %s", query, got.status, got.body)
		}
		asked := map[string]string{}
		for _, q := range p.questions()[before:] {
			asked[q.Action.Name] = q.Resource.ID
		}
		if got := fmt.Sprint(asked); got != want {
			t.Errorf("%s: asked %s, want %s", query, got, want)
		}
	}
}

package authz

import (
	"fmt"
	"strings"
	"testing"

	"keyway/internal/principal"
	"keyway/internal/threat"
)

// Of whom not all roles are known, nothing is decided: the one that was left out may
// be the one that a policy forbids something to.
func TestWhoHasTooManyRoles(t *testing.T) {
	threat.Covers(t, 50)
	var many []string
	for i := range principal.MaxRights + 1 {
		many = append(many, fmt.Sprint("role-", i))
	}
	for name, c := range map[string]struct {
		who   principal.Principal
		allow bool
	}{
		"as many as there may be": {principal.Principal{Provider: "main", Subject: "ada", Roles: many[1:], Permissions: many[1:]}, true},
		"one role too many":       {principal.Principal{Provider: "main", Subject: "ada", Roles: many}, false},
		"one permission too many": {principal.Principal{Provider: "main", Subject: "ada", Permissions: many}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &point{}
			e := enforcer(t, p, nil)
			v, err := e.Decide(t.Context(), &c.who, compiled(t, Mapping{Resource: "note", Action: "read", IDFrom: "{id}"}), factsOf(map[string]string{"id": "7"}, "", ""), Circumstances{})
			all, errAll := e.DecideAll(t.Context(), &c.who, []Item{{Action: "read", Resource: AnyOf("note")}}, Circumstances{})
			if v.Allow != c.allow || len(all) != 1 || all[0].Allow != c.allow || (err == nil) != c.allow || (errAll == nil) != c.allow {
				t.Fatalf("%+v %v; %+v %v", v, err, all, errAll)
			}
			if !c.allow && (p.calls.Load() != 0 || !strings.Contains(err.Error(), "expected at most 512") || v.Reason == "") {
				t.Errorf("asked %d times; %q %v", p.calls.Load(), v.Reason, err)
			}
		})
	}
}

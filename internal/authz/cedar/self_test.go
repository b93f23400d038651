package cedar_test

import (
	"testing"

	"keyway/internal/authz"
)

// What a request says of the one who sends it must not pass for what his provider says.
func TestASubjectThatIsTheResource(t *testing.T) {
	p := open(t, map[string]string{"users.cedar": `
@id("admins")
permit(principal is user, action, resource) when { principal.roles.contains("admin") };
@id("the boss")
permit(principal is user, action == Action::"audit", resource) when { principal has email && principal.email == "boss@example.com" };
@id("oneself")
permit(principal is user, action == Action::"rename", resource is user) when { principal == resource };
`})
	about := func(action string, properties map[string]any) authz.Question {
		return authz.Question{
			Subject:  authz.Entity{Type: "user", ID: "eve", Properties: map[string]any{"sub": "eve", "roles": []string{"viewer"}}},
			Action:   authz.Action{Name: action},
			Resource: authz.Entity{Type: "user", ID: "eve", Properties: properties},
		}
	}
	if d, err := p.Evaluate(t.Context(), about("delete", map[string]any{"roles": []any{"admin"}})); d.Allow || err == nil {
		t.Errorf("eve says that she is an admin: %+v, %v", d, err)
	}
	if d, err := p.Evaluate(t.Context(), about("delete", map[string]any{"nick": "e"})); d.Allow || err != nil {
		t.Errorf("eve deletes: %+v, %v", d, err)
	}
	if d, err := p.Evaluate(t.Context(), about("rename", map[string]any{"nick": "e", "roles": []any{"viewer"}})); !d.Allow || err != nil {
		t.Errorf("eve renames herself: %+v, %v", d, err)
	}
	if d, err := p.Evaluate(t.Context(), about("audit", map[string]any{"email": "boss@example.com"})); d.Allow || err == nil {
		t.Errorf("eve, whose provider tells no address, says that it is the boss's: %+v, %v", d, err)
	}
	all, err := p.EvaluateAll(t.Context(), []authz.Question{about("delete", map[string]any{"roles": []any{"admin"}}), about("rename", nil)})
	if err != nil || all[0].Allow || !all[1].Allow {
		t.Errorf("one that can't be put in words denies the others: %+v, %v", all, err)
	}
}

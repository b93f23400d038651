package cedar

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"keyway/internal/authz"
)

// Policies that are left out because of their scope, and a context that is left out
// because nobody reads it, must never make another decision than Cedar makes by itself
// of all policies and the whole context.
func TestWhatIsLeftOutDecidesNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	allowed, failed, applied := 0, 0, 0
	for range 3000 {
		text := somePolicies(r)
		folder, err := parse("made", []file{{"a.cedar", []byte(text)}})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		whole := cedar.NewPolicySet()
		for id, s := range folder.by {
			whole.Add(id, s.policy)
		}
		for range 10 {
			q := someQuestion(r)
			about, err := pairOf(q)
			if err != nil {
				continue // a request that contradicts the provider; another test's
			}
			action := types.NewEntityUID(actionType, types.String(q.Action.Name))
			got, gotWhy := folder.authorize(about, action, q.Context)
			want, wantWhy := cedar.Authorize(whole, types.EntityMap{about.subject.UID: *about.subject, about.resource.UID: *about.resource},
				cedar.Request{Principal: about.subject.UID, Action: action, Resource: about.resource.UID, Context: contextOf(q.Context)})
			if got != want || ids(gotWhy) != ids(wantWhy) {
				t.Fatalf("%+v\nwith\n%s\nCedar says %v by %s, and we %v by %s", q, text, want, ids(wantWhy), got, ids(gotWhy))
			}
			if want == cedar.Allow {
				allowed++
			}
			failed += len(wantWhy.Errors)
			applied += len(wantWhy.Reasons)
		}
	}
	// What never happens proves nothing.
	if allowed < 500 || failed < 200 || applied < 800 {
		t.Errorf("%d allowed, %d that could not be worked out, %d applied: the questions have become dull", allowed, failed, applied)
	}
}

// ids are the policies that decided or could not be worked out.
func ids(why cedar.Diagnostic) string {
	var all []string
	for _, r := range why.Reasons {
		all = append(all, string(r.PolicyID))
	}
	for _, e := range why.Errors {
		all = append(all, string(e.PolicyID)+": "+e.Message)
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

func somePolicies(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(6) {
		fmt.Fprintf(&b, "%s(%s, %s, %s) %s;\n", pick(r, "permit", "permit", "forbid"),
			pick(r, "principal", "principal", "principal", "principal", "principal", "principal", "principal is user", "principal is client", `principal == user::"ada"`, `principal in role::"editor"`, `principal is user in role::"viewer"`, `principal in user::"ada"`,
				`principal in role::""`, `principal == user::""`, `principal in role::"Editor"`, `principal is role`, `principal == role::"editor"`, `principal is Org::user in role::"editor"`, `principal in role::"\u{212A}"`),
			pick(r, "action", "action", "action", "action", "action", "action", `action == Action::"read"`, `action in Action::"update"`, `action in [Action::"read", Action::"delete", Action::"read"]`, `action == Other::Action::"read"`,
				`action in []`, `action == Action::""`, `action in [Action::"READ", Other::Action::"read"]`, `action == Action::"\u{212A}"`, `action == note::"read"`),
			pick(r, "resource", "resource", "resource", "resource", "resource", "resource", "resource is note", `resource == note::"1"`, `resource in note::"1"`, `resource is note in note::"2"`, `resource in role::"editor"`, "resource is role", "resource is user",
				"resource is Org::note", `resource == Org::note::"1"`, `resource == note::""`, `resource in Action::"read"`, "resource is Action", `resource == note::"a\"b"`, `resource is user in role::"editor"`),
			pick(r, "", "", `when { resource.locked }`, `unless { resource has locked && resource.locked }`, `when { context has ip && context.ip.isInRange(ip("10.0.0.0/8")) }`,
				`when { context.ip.isInRange(ip("10.0.0.0/8")) }`, `when { context["correlation_id"] == "c" }`, `when { context.time > datetime("2020-01-01") }`,
				`when { principal in resource }`, `when { resource in principal }`, `when { action in role::"editor" }`, `when { principal.roles.contains("editor") }`, `when { {"x": context}.x has ip }`, `when { principal == resource }`,
				`when { action == resource }`, `when { action in resource }`, `when { resource in role::"editor" }`, `when { principal is Org::user }`, `unless { resource.Locked }`, `when { principal.roles == resource.roles }`))
	}
	return b.String()
}

func someQuestion(r *rand.Rand) authz.Question {
	q := authz.Question{
		Subject:  authz.Entity{Type: pick(r, "user", "user", "client", "role", "Org::user"), ID: pick(r, "ada", "ada", "grace", "editor", ""), Properties: map[string]any{"roles": []string{}}},
		Action:   authz.Action{Name: pick(r, "read", "read", "update", "delete", "other", "editor", "READ", "K", "")},
		Resource: authz.Entity{Type: pick(r, "note", "note", "note", "role", "user", "Action", "Org::note"), ID: pick(r, "1", "2", "editor", "ada", "read", "", `a"b`)},
	}
	if r.IntN(2) == 0 {
		q.Subject.Properties["roles"] = []string{pick(r, "editor", "viewer", "", "Editor", "K", "editor"), "other"}
	}
	if r.IntN(2) == 0 {
		q.Resource.Properties = map[string]any{"locked": r.IntN(2) == 0}
	}
	if r.IntN(3) > 0 {
		q.Context.Address = netip.MustParseAddr(pick(r, "10.1.2.3", "192.0.2.1", "2001:db8::1"))
	}
	if r.IntN(3) > 0 {
		q.Context.CorrelationID, q.Context.Time = pick(r, "c", "d"), time.Unix(r.Int64N(2e9), 0)
	}
	return q
}

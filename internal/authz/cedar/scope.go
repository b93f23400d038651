package cedar

import (
	"bytes"
	"iter"
	"slices"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	expast "github.com/cedar-policy/cedar-go/x/exp/ast"
)

// scoped is a policy, with what its scope says in a form that is quick to compare.
// Cedar would say the same of it, a hundred times slower: with a hundred policies that
// is nearly all that a decision takes.
type scoped struct {
	id                  types.PolicyID
	policy              *cedar.Policy
	principal, resource scope
	readsContext        bool
}

func newScoped(id types.PolicyID, policy *cedar.Policy) *scoped {
	ast := policy.AST()
	return &scoped{
		id: id, policy: policy, principal: scopeOf(ast.Principal), resource: scopeOf(ast.Resource),
		// More than do it: a text may have the word, too.
		readsContext: bytes.Contains(policy.MarshalCedar(), []byte("context")),
	}
}

// scope is one part of a policy's scope: each that is there has to hold. The zero
// scope holds of everything.
type scope struct {
	is     types.EntityType
	eq, in types.EntityUID
}

// holds says whether the policy's scope can be about an entity, whose parents have no
// parents of their own.
func (s *scope) holds(e *types.Entity) bool {
	return (s.is == "" || s.is == e.UID.Type) &&
		(s.eq.Type == "" || s.eq == e.UID) &&
		(s.in.Type == "" || s.in == e.UID || e.Parents.Contains(s.in))
}

// scopeOf reads a part of a scope. A kind of scope that is not known here holds of
// everything, so that Cedar looks at it.
func scopeOf(node expast.IsScopeNode) scope {
	switch n := node.(type) {
	case expast.ScopeTypeEq:
		return scope{eq: n.Entity}
	case expast.ScopeTypeIs:
		return scope{is: n.Type}
	case expast.ScopeTypeIn:
		return scope{in: n.Entity}
	case expast.ScopeTypeIsIn:
		return scope{is: n.Type, in: n.Entity}
	}
	return scope{}
}

// actionsOf are the only actions that a policy can be about. every: there may be others.
// An action has no parents here, so that to be in another is to be it.
func actionsOf(node expast.IsActionScopeNode) (only []types.EntityUID, every bool) {
	switch n := node.(type) {
	case expast.ScopeTypeEq:
		return []types.EntityUID{n.Entity}, false
	case expast.ScopeTypeIn:
		return []types.EntityUID{n.Entity}, false
	case expast.ScopeTypeInSet:
		return n.Entities, false
	}
	return nil, true
}

// index are policies by the actions that they name. It is immutable.
type index struct {
	naming map[types.EntityUID][]*scoped
	rest   []*scoped // those that name none
}

func newIndex(all []*scoped) index {
	x := index{naming: map[types.EntityUID][]*scoped{}}
	for _, s := range all {
		actions, every := actionsOf(s.policy.AST().Action)
		if every {
			x.rest = append(x.rest, s)
		}
		for i, action := range actions {
			if !slices.Contains(actions[:i], action) {
				x.naming[action] = append(x.naming[action], s)
			}
		}
	}
	return x
}

// about are the policies whose scope can hold for a question.
func (x *index) about(subject, resource *types.Entity, action types.EntityUID) iter.Seq[*scoped] {
	return func(yield func(*scoped) bool) {
		for _, list := range [...][]*scoped{x.naming[action], x.rest} {
			for _, s := range list {
				if s.principal.holds(subject) && s.resource.holds(resource) && !yield(s) {
					return
				}
			}
		}
	}
}

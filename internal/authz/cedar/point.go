package cedar

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"keyway/internal/authz"
)

// Point is an authz.PDP in this process. Safe for concurrent use.
type Point struct {
	folder string
	now    atomic.Pointer[policies]

	mu     sync.Mutex // of looking at the folder
	seen   [sha256.Size]byte
	settle func() // waits until what is being written is likely to be there
}

// settles is how long a folder that has changed has to stay as it is to be taken: who
// writes a file empties it first.
const settles = 50 * time.Millisecond

var (
	_ authz.PDP      = (*Point)(nil)
	_ authz.Preparer = (*Point)(nil)
)

// Open reads a folder. It fails with an *Error if it can't be used whole.
func Open(folder string) (*Point, error) {
	p := &Point{folder: folder, settle: func() { time.Sleep(settles) }}
	if _, err := p.Reload(); err != nil {
		return nil, err
	}
	return p, nil
}

// Reload looks whether the folder is another than it was, and takes it if it can be
// used whole, and stays as it is for a moment: it may be being written. changed says
// that other policies are in use now. What was good before stays in use on an error,
// which is returned once for each state of the folder.
func (p *Point) Reload() (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	files, sum, err := read(p.folder)
	if err != nil {
		return false, err
	}
	if p.now.Load() != nil && sum == p.seen {
		return false, nil
	}
	if p.now.Load() != nil {
		p.settle()
		again, sumAgain, err := read(p.folder)
		if err != nil || sumAgain != sum {
			return false, err // the next look sees what it has become
		}
		files = again
	}
	p.seen = sum
	next, err := parse(p.folder, files)
	if err != nil {
		return false, err
	}
	p.now.Store(next)
	return true, nil
}

// Policies is how many are in use.
func (p *Point) Policies() int { return len(p.now.Load().by) }

// Known is what the schema in use knows; nil: there is none.
func (p *Point) Known() *Known { return p.now.Load().known }

// Evaluate implements authz.PDP. It asks nobody and takes microseconds.
func (p *Point) Evaluate(_ context.Context, q authz.Question) (authz.Decision, error) {
	return p.now.Load().decide(q)
}

// EvaluateAll implements authz.PDP, all by the same policies.
func (p *Point) EvaluateAll(_ context.Context, qs []authz.Question) ([]authz.Decision, error) {
	now := p.now.Load()
	all := make([]authz.Decision, len(qs))
	for i, q := range qs {
		var err error
		if all[i], err = now.decide(q); err != nil { // the others have nothing to do with it
			all[i] = authz.Decision{Reason: "the question can't be put in Cedar's words: " + oneLine(err)}
		}
	}
	return all, nil
}

const (
	actionType = "Action"
	roleType   = "role"
)

// Prepare implements authz.Preparer.
func (p *Point) Prepare(subject authz.Entity) (any, error) { return prepare(subject) }

func prepare(subject authz.Entity) (*types.Entity, error) {
	if subject.Type == actionType { // its roles would be kinds of an action
		return nil, fmt.Errorf("cedar: subject: expected another type than %s", actionType)
	}
	e, err := entity(subject)
	if err != nil {
		return nil, fmt.Errorf("cedar: subject: %w", err)
	}
	if roles, ok := subject.Properties["roles"].([]string); ok {
		parents := make([]types.EntityUID, len(roles))
		for i, role := range roles {
			parents[i] = types.NewEntityUID(roleType, types.String(role))
		}
		e.Parents = types.NewEntityUIDSet(parents...)
	}
	return e, nil
}

// pair are the two that a question is about. Nothing else is an entity with anything.
type pair struct{ subject, resource *types.Entity }

func pairOf(q authz.Question) (*pair, error) {
	subject, ok := q.Prepared.(*types.Entity)
	var err error
	if !ok {
		if subject, err = prepare(q.Subject); err != nil {
			return nil, err
		}
	}
	resource, err := entity(q.Resource)
	if err != nil {
		return nil, fmt.Errorf("cedar: resource: %w", err)
	}
	if subject.UID == resource.UID {
		// Somebody, about himself. What a request says of him must not pass for what
		// his provider says, nor the other way round.
		if resource, err = merged(subject, resource); err != nil {
			return nil, err
		}
		subject = resource
	}
	return &pair{subject, resource}, nil
}

// Get implements types.EntityGetter.
func (p *pair) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid {
	case p.subject.UID:
		return *p.subject, true
	case p.resource.UID:
		return *p.resource, true
	}
	return types.Entity{}, false
}

func (p *policies) decide(q authz.Question) (authz.Decision, error) {
	about, err := pairOf(q)
	if err != nil {
		return authz.Decision{}, err
	}
	action := types.NewEntityUID(actionType, types.String(q.Action.Name))
	decision, why := p.authorize(about, action, q.Context)
	// Cedar leaves out what it can't work out. Of a policy that forbids nobody knows
	// then that it does not.
	for _, e := range why.Errors {
		if p.by[e.PolicyID].policy.Effect() == cedar.Forbid {
			return authz.Decision{Reason: fmt.Sprintf("policy %s forbids, and could not be worked out: %s", e.PolicyID, oneLine(fmt.Errorf("%s", e.Message)))}, nil
		}
	}
	return authz.Decision{Allow: decision == cedar.Allow, Reason: reason(decision, why)}, nil
}

// authorize has Cedar go through the policies whose scope can hold.
func (p *policies) authorize(about *pair, action types.EntityUID, c authz.Context) (cedar.Decision, cedar.Diagnostic) {
	can := make(applicable, 0, 8) // nearly always enough
	readsContext := false
	for s := range p.index.about(about.subject, about.resource, action) {
		can = append(can, s)
		readsContext = readsContext || s.readsContext
	}
	request := cedar.Request{Principal: about.subject.UID, Action: action, Resource: about.resource.UID}
	if readsContext { // it takes as long as all else
		request.Context = contextOf(c)
	}
	return cedar.Authorize(can, about, request)
}

// applicable implements cedar.PolicyIterator.
type applicable []*scoped

func (a applicable) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, s := range a {
			if !yield(s.id, s.policy) {
				return
			}
		}
	}
}

// reason names the policies that decided.
func reason(decision cedar.Decision, why cedar.Diagnostic) string {
	var ids []string
	for _, r := range why.Reasons {
		ids = append(ids, string(r.PolicyID))
	}
	slices.Sort(ids)
	switch {
	case len(ids) == 0 && len(why.Errors) > 0:
		return fmt.Sprintf("no policy permits; %s could not be worked out", why.Errors[0].PolicyID)
	case len(ids) == 0:
		return "no policy permits"
	case decision == cedar.Allow:
		return "permitted by " + strings.Join(ids, ", ")
	}
	return "forbidden by " + strings.Join(ids, ", ")
}

// merged is one entity of two descriptions, which must not contradict each other: nor
// may the resource's say what the subject's could, and did not.
func merged(subject, resource *types.Entity) (*types.Entity, error) {
	all := types.RecordMap{}
	for name, v := range subject.Attributes.All() {
		all[name] = v
	}
	for name, v := range resource.Attributes.All() {
		has, ok := all[name]
		if ok && !has.Equal(v) || !ok && authz.IsSubjectProperty(string(name)) {
			return nil, fmt.Errorf("cedar: the subject is the resource, and the request says %.40q of it otherwise than who signed it in", string(name))
		}
		all[name] = v
	}
	return &types.Entity{UID: subject.UID, Parents: subject.Parents, Attributes: types.NewRecord(all)}, nil
}

func entity(e authz.Entity) (*types.Entity, error) {
	attributes, err := record(e.Properties)
	if err != nil {
		return nil, err
	}
	return &types.Entity{UID: types.NewEntityUID(types.EntityType(e.Type), types.String(e.ID)), Attributes: attributes}, nil
}

package cedar

import (
	"context"
	"crypto/sha256"
	"fmt"
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

var _ authz.PDP = (*Point)(nil)

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
func (p *Point) Policies() int { return p.now.Load().n }

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

func (p *policies) decide(q authz.Question) (authz.Decision, error) {
	subject, err := entity(q.Subject)
	if err != nil {
		return authz.Decision{}, fmt.Errorf("cedar: subject: %w", err)
	}
	if roles, ok := q.Subject.Properties["roles"].([]string); ok {
		parents := make([]types.EntityUID, len(roles))
		for i, role := range roles {
			parents[i] = types.NewEntityUID(roleType, types.String(role))
		}
		subject.Parents = types.NewEntityUIDSet(parents...)
	}
	resource, err := entity(q.Resource)
	if err != nil {
		return authz.Decision{}, fmt.Errorf("cedar: resource: %w", err)
	}
	about, err := contextOf(q.Context)
	if err != nil {
		return authz.Decision{}, fmt.Errorf("cedar: context: %w", err)
	}
	if subject.UID == resource.UID {
		// Somebody, about himself. What a request says of him must not pass for what
		// his provider says, nor the other way round.
		if resource, err = merged(subject, resource); err != nil {
			return authz.Decision{}, err
		}
		subject = resource
	}
	entities := types.EntityMap{subject.UID: subject, resource.UID: resource}
	decision, why := cedar.Authorize(p.set, entities, cedar.Request{
		Principal: subject.UID, Action: types.NewEntityUID(actionType, types.String(q.Action.Name)), Resource: resource.UID, Context: about,
	})
	// Cedar leaves out what it can't work out. Of a policy that forbids nobody knows
	// then that it does not.
	for _, e := range why.Errors {
		if p.forbids[e.PolicyID] {
			return authz.Decision{Reason: fmt.Sprintf("policy %s forbids, and could not be worked out: %s", e.PolicyID, oneLine(fmt.Errorf("%s", e.Message)))}, nil
		}
	}
	return authz.Decision{Allow: decision == cedar.Allow, Reason: reason(decision, why)}, nil
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
func merged(subject, resource types.Entity) (types.Entity, error) {
	all := types.RecordMap{}
	for name, v := range subject.Attributes.All() {
		all[name] = v
	}
	for name, v := range resource.Attributes.All() {
		has, ok := all[name]
		if ok && !has.Equal(v) || !ok && authz.IsSubjectProperty(string(name)) {
			return types.Entity{}, fmt.Errorf("cedar: the subject is the resource, and the request says %.40q of it otherwise than who signed it in", string(name))
		}
		all[name] = v
	}
	subject.Attributes = types.NewRecord(all)
	return subject, nil
}

func entity(e authz.Entity) (types.Entity, error) {
	attributes, err := record(e.Properties)
	if err != nil {
		return types.Entity{}, err
	}
	return types.Entity{UID: types.NewEntityUID(types.EntityType(e.Type), types.String(e.ID)), Attributes: attributes}, nil
}

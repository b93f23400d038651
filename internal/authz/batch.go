package authz

import (
	"context"
	"fmt"

	"keyway/internal/principal"
)

// Item is one of several things that are asked about at once, in words already.
type Item struct {
	Action   string
	Resource Entity
}

// AnyOf is the resource of a type when no one in particular is meant.
func AnyOf(resourceType string) Entity { return Entity{Type: resourceType, ID: anyID} }

// DecideAll says which of several things who may do, in their order. What is
// remembered is not asked again; the rest is asked in one batch, or several if there
// are more than MaxBatch. On an error, which is for the log, what nobody has decided is
// denied; see Undecided.
func (e *Enforcer) DecideAll(ctx context.Context, who *principal.Principal, items []Item, at Circumstances) ([]Verdict, error) {
	all := make([]Verdict, len(items))
	if err := who.Whole(); err != nil {
		for i := range items {
			all[i].Resource, all[i].Reason = items[i].Resource, reasonNotWhole
		}
		return all, err
	}
	epoch := e.epoch.Load()
	keys := make([]key, len(items))
	var asked []int
	var questions []Question
	for i := range items {
		item := &items[i]
		all[i].Resource = item.Resource
		k, err := e.key(epoch, who, item.Action, &item.Resource, at)
		if err != nil {
			for i := range items {
				all[i] = Verdict{Resource: items[i].Resource, Decision: Decision{Reason: reasonUnclear}}
			}
			return all, err
		}
		keys[i] = k
		if d, ok := e.recall(k); ok {
			all[i].Decision, all[i].Cached = *d, true
			continue
		}
		asked = append(asked, i)
		questions = append(questions, e.question(who, item.Action, item.Resource, at))
	}
	for len(asked) > 0 {
		n := min(len(asked), MaxBatch)
		began := e.o.Now()
		decisions, err := e.askAll(ctx, who, questions[:n])
		for j, i := range asked[:n] {
			if err == nil {
				all[i].Decision = decisions[j]
				e.remember(keys[i], epoch, decisions[j], began)
			}
		}
		if err != nil {
			for _, i := range asked {
				all[i].Decision = Decision{Reason: reasonUnanswered}
			}
			return all, err
		}
		asked, questions = asked[n:], questions[n:]
	}
	return all, nil
}

// Undecided reports whether it is a no for want of an answer. Of several that were asked
// about some may be decided, and remembered, when others are not.
func (v *Verdict) Undecided() bool {
	return !v.Allow && (v.Reason == reasonUnclear || v.Reason == reasonUnanswered || v.Reason == reasonNotWhole)
}

func (e *Enforcer) askAll(ctx context.Context, who *principal.Principal, questions []Question) (all []Decision, err error) {
	defer func() {
		if recover() != nil { // not the panic's own text: it may have anything
			all, err = nil, errDefect
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, e.o.Deadline)
	defer cancel()
	leave, err := e.waits.enter(ctx, accountOf(who))
	if err != nil {
		return nil, err
	}
	defer leave()
	if all, err = e.o.PDP.EvaluateAll(ctx, questions); err == nil && len(all) != len(questions) {
		return nil, fmt.Errorf("%w: "+wrongAmount, ErrAnswer, len(questions), len(all))
	}
	return all, err
}

// Subject is who, as the decision point is told.
func (e *Enforcer) Subject(who *principal.Principal) Entity { return e.subjects.get(who).Entity }

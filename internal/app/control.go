package app

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"keyway/internal/admin"
	"keyway/internal/fleet"
	"keyway/internal/rotation"
)

// countWithin bounds how long a status waits for what depends on old versions to
// be counted.
const countWithin = 3 * time.Second

// clockOff is how far a replica's clock may be from the store's before somebody
// should know.
const clockOff = 30 * time.Second

// control is what the admin API speaks for.
type control struct{ a *app }

var _ admin.Control = control{}

// named are the definitions of secrets that are in use, by name; no names: all.
func (c control) named(names []string) ([]definition, error) {
	held := c.a.current.Load().rings
	var known []string
	var all []definition
	for _, d := range c.a.defs {
		if !held[d.name].IsZero() {
			known = append(known, d.name)
			if len(names) == 0 || slices.Contains(names, d.name) {
				all = append(all, d)
			}
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, &admin.UnknownSecretError{Name: name, Known: known}
		}
	}
	return all, nil
}

// Plan implements admin.Control.
func (c control) Plan(ctx context.Context, names []string, compromised bool) ([]admin.Plan, error) {
	defs, err := c.named(names)
	if err != nil {
		return nil, err
	}
	a := c.a
	roll, err := a.side.Roll(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := a.sessions().CountVersions(ctx)
	if err != nil {
		return nil, err
	}
	held := a.current.Load().rings
	plans := make([]admin.Plan, len(defs))
	for i, d := range defs {
		plans[i] = a.planOf(d, held[d.name], roll, &counts, compromised)
	}
	return plans, nil
}

// Rotate implements admin.Control.
func (c control) Rotate(ctx context.Context, r admin.Request) ([]rotation.Rotation, error) {
	names := r.Secrets
	if r.All {
		names = nil
	}
	defs, err := c.named(names)
	if err != nil {
		return nil, err
	}
	a := c.a
	held := a.current.Load().rings
	results := make([]rotation.Rotation, len(defs))
	errs := make([]error, len(defs))
	var group sync.WaitGroup
	for i, d := range defs {
		group.Go(func() {
			results[i], errs[i] = a.runner.Rotate(ctx, d.name, rotation.Request{AskedBy: r.By, Compromised: r.Compromised})
		})
	}
	group.Wait()
	begun := slices.ContainsFunc(results, func(r rotation.Rotation) bool {
		return r.ID != "" && r.Outcome != rotation.OutcomeNeedsOperator && r.Outcome != rotation.OutcomeUnchanged
	})
	if err := errors.Join(errs...); err != nil && !begun {
		return nil, c.translate(err) // nothing is under way: with a full disk, that is what has to be said
	}
	for i, err := range errs {
		if err != nil { // others have begun, so that is no answer for all of them
			now := time.Now()
			results[i] = rotation.Rotation{
				Secret: defs[i].name, From: held[defs[i].name].Active().ID, AskedBy: r.By,
				StartedAt: now, EndedAt: now, Outcome: rotation.OutcomeFailed, Waiting: err.Error(),
			}
		}
	}
	if r.Compromised && slices.Contains(names, nameTokenHashSalt) && a.shared && !slices.Contains(names, fleet.KeyEncryptionKey) {
		// Whoever has the salt could open what the store keeps.
		more, err := c.Rotate(ctx, admin.Request{Secrets: []string{fleet.KeyEncryptionKey}, Compromised: true, By: r.By + " (with " + nameTokenHashSalt + ")"})
		if err != nil {
			return results, err
		}
		results = append(results, more...)
	}
	return results, nil
}

// Rollback implements admin.Control.
func (c control) Rollback(ctx context.Context, secret, by string) (rotation.Rotation, error) {
	if _, err := c.named([]string{secret}); err != nil {
		return rotation.Rotation{}, err
	}
	r, err := c.a.runner.RollBack(ctx, secret, by)
	return r, c.translate(err)
}

// Rotations implements admin.Control.
func (c control) Rotations(ctx context.Context, ids []string) ([]rotation.Rotation, error) {
	var found []rotation.Rotation
	left := slices.Clone(ids)
	for _, d := range c.a.defs {
		if len(left) == 0 {
			break
		}
		history, err := c.a.runner.History(ctx, d.name)
		if err != nil {
			return nil, err
		}
		left = slices.DeleteFunc(left, func(id string) bool {
			r := history.Find(id)
			if r != nil {
				found = append(found, *r)
			}
			return r != nil
		})
	}
	return found, nil
}

// translate is an error in the words of package admin.
func (c control) translate(err error) error {
	if refused, ok := errors.AsType[*rotation.RefusedError](err); ok {
		return &admin.RefusedError{Secret: refused.Secret, Why: refused.Why, Cure: refused.Cure}
	}
	return err
}

package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"keyway/internal/admin"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/rotation"
	"keyway/internal/session"
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

// Status implements admin.Control.
func (c control) Status(ctx context.Context) (admin.Status, error) {
	a := c.a
	_, _ = a.follower.look(ctx) // so that what was just done is told; a note says if it can't be known
	roll, err := a.side.reports(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	s := admin.Status{Store: "this replica's folder " + a.resources.keys.Dir(), Leader: a.side.leader(ctx)}
	if a.shared {
		s.Store = "the shared store at " + a.config.Store.RedisURL.String()
	}
	held := a.current.Load().rings
	counts := a.count(ctx, held)
	for _, d := range a.defs {
		ring := held[d.name]
		if ring.IsZero() {
			continue
		}
		one, err := c.secret(ctx, d, ring, roll, counts)
		if err != nil {
			return admin.Status{}, err
		}
		s.Secrets = append(s.Secrets, one)
	}
	for _, r := range roll.Reports {
		s.Replicas = append(s.Replicas, replica(r, roll.Now, held))
	}
	if off := time.Since(roll.Now); off.Abs() > clockOff {
		s.Notes = append(s.Notes, fmt.Sprintf("the clock of this replica and that of the store are %s apart; an identity provider refuses assertions of a replica whose clock is off", round(off.Abs())))
	}
	s.Notes = append(s.Notes, a.notes(ctx)...)
	return s, nil
}

func (a *app) notes(ctx context.Context) (notes []string) {
	if !a.follower.fresh() {
		notes = append(notes, "this replica could not read the fleet's rings lately: nothing is moved, and what it holds stays in use")
	}
	if !a.config.Rotation.Auto {
		notes = append(notes, "nothing is rotated by age: AUTO_KEY_ROTATION (rotation.auto) is off")
	}
	for _, t := range a.watcher.Troubles() {
		notes = append(notes, t.Error())
	}
	return notes
}

// count is what depends on versions, if any is retiring.
func (a *app) count(ctx context.Context, held rings) *session.VersionCount {
	retiring := false
	for _, name := range []string{nameTokenHashSalt, nameSessionKey, nameUAHashSalt} {
		for v := range held[name].Live() {
			retiring = retiring || v.State == keyring.Retiring
		}
	}
	if !retiring {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	counts, err := a.sessions().CountVersions(ctx)
	if err != nil {
		return nil // it says nothing, rather than something wrong
	}
	return &counts
}

func dependents(counts *session.VersionCount, secret, version string) *int {
	if counts == nil {
		return nil
	}
	var of map[string]int
	switch secret {
	case nameTokenHashSalt:
		of = counts.Salt
	case nameSessionKey:
		of = counts.SessionKey
	case nameUAHashSalt:
		of = counts.UA
	default:
		return nil
	}
	n := of[version]
	return &n
}

func (c control) secret(ctx context.Context, d definition, ring keyring.Ring, roll fleet.Roll, counts *session.VersionCount) (admin.SecretStatus, error) {
	a := c.a
	turned := a.turnings[d.name]
	policy := turned.Policy(ring)
	s := admin.SecretStatus{Name: d.name, Kind: string(policy.Kind), Source: "managed", Active: ring.Active().ID}
	if ring.Active().HandedIn {
		s.Source = "handed_in"
	}
	_, s.Trouble = a.sources.of(d.name)
	if every := a.config.Rotation.For(d.name).Every; every > 0 && a.config.Rotation.Auto {
		due := rotation.Due(ring, every)
		if ring.Active().HandedIn {
			if !roll.Now.Before(due) {
				s.Operator = fmt.Sprintf("it is older than %s; %s", every, turned.HandIn)
			}
		} else {
			s.NextRotationAt = &due
		}
	}
	for v := range ring.All() {
		version := admin.VersionStatus{
			ID: v.ID, State: string(v.State), CreatedAt: when(v.CreatedAt), ActivatedAt: when(v.ActivatedAt), RetiresAt: when(v.RetiresAt),
			HandedIn: v.HandedIn, Withdrawn: v.Withdrawn, Compromised: v.Compromised,
		}
		if v.State == keyring.Retiring {
			end := v.RetiresAt.Add(policy.Lifetime + policy.Skew)
			if guarded := ring.Active().ActivatedAt.Add(policy.Guard); guarded.After(end) {
				end = guarded
			}
			version.RetiresAt = &end
			version.Dependents = dependents(counts, d.name, v.ID)
		}
		s.Versions = append(s.Versions, version)
	}
	history, err := a.runner.History(ctx, d.name)
	if err != nil {
		return s, err
	}
	if open := history.Open(); open != nil {
		s.Rotation, s.Waiting, s.Blocked = open, open.Waiting, open.Blocked
	} else if len(history.Rotations) > 0 {
		s.Rotation = &history.Rotations[0]
	}
	return s, nil
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func replica(r fleet.Report, now time.Time, held rings) admin.ReplicaStatus {
	s := admin.ReplicaStatus{
		ID: r.ID, Host: r.Host, SeenAt: r.Seen, StartedAt: r.Started, Live: r.Live(now),
		Holds: map[string][]string{}, Issues: map[string]string{},
	}
	for name, h := range r.Secrets {
		s.Issues[name] = h.Issues
		ids := []string{}
		for id := range h.Holds {
			if id != h.Issues {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		if _, holds := h.Holds[h.Issues]; holds {
			ids = slices.Insert(ids, 0, h.Issues)
		}
		s.Holds[name] = ids
	}
	if s.Live {
		for name, ring := range held {
			for v := range ring.Live() {
				if !slices.Contains(s.Holds[name], v.ID) {
					s.Lacks = append(s.Lacks, name+" "+v.ID)
				}
			}
		}
		slices.Sort(s.Lacks)
	}
	return s
}

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
	if err := errors.Join(errs...); err != nil && !slices.Contains(errs, nil) {
		return nil, c.translate(err)
	}
	for i, err := range errs {
		if err != nil { // the others have begun, so that is no answer for all of them
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

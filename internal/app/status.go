package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"keyway/internal/admin"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/rotation"
	"keyway/internal/session"
)

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
	if !a.config.Authz.Enabled && asksPDP(a.config) {
		notes = append(notes, switchedOff)
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
			HandedIn: v.HandedIn, Withdrawn: v.Withdrawn, Compromised: v.Compromised || v.Exposed,
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

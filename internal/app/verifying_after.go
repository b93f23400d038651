package app

import (
	"context"
	"fmt"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/verify"
)

const (
	// verifyLook is how often it is looked whether something has turned.
	verifyLook = 500 * time.Millisecond
	// A version is verified again this often while it is guarded, in parts of the
	// guard window, within bounds; and soon after that could not be done.
	verifyParts             = 10
	verifyLeast, verifyMost = 5 * time.Second, time.Minute
	verifySoon              = 3 * time.Second
	verifyTwice             = 2                // as often has a check to fail in a row
	verifyApart             = 10 * time.Second // at least, if the guard window has room for that
	verifyWithin            = 30 * time.Second
	verifyLate              = time.Minute // a version that is active for longer was verified by who led then
)

// turned is what is remembered of a secret between two looks.
type turned struct {
	active string
	fails  map[string]int // by check: how often in a row the version was refused for certain
	next   time.Time
	told   string
}

// verifications verifies each secret after it turned, while it is guarded, wherever
// this replica leads; and goes back when that fails where it passed before.
func (a *app) verifications(ctx context.Context) {
	if !a.config.Verify.AfterRotation {
		<-ctx.Done()
		return
	}
	secrets := map[string]*turned{}
	look := time.NewTicker(verifyLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		for _, d := range a.defs {
			ring := a.current.Load().rings[d.name]
			if ring.IsZero() || ctx.Err() != nil {
				continue
			}
			t := secrets[d.name]
			if t == nil || t.active != ring.Active().ID {
				t = &turned{active: ring.Active().ID, fails: map[string]int{}}
				secrets[d.name] = t
			}
			a.verifyTurned(ctx, d.name, ring, t)
		}
	}
}

// verifyTurned verifies a secret if it is time to.
func (a *app) verifyTurned(ctx context.Context, name string, ring keyring.Ring, t *turned) {
	now, guard := time.Now(), a.config.Rotation.For(name).Guard
	active := ring.Active()
	age := now.Sub(active.ActivatedAt)
	_, pending := ring.Pending()
	_, before := ring.Previous()
	if now.Before(t.next) || pending || !before || age >= max(guard, verifyLate) {
		return
	}
	if a.side.leader(ctx) != a.id {
		t.next = now.Add(verifyLook)
		return
	}
	if len(t.fails) > 0 {
		a.reconnect(name)
	}
	ctx, cancel := context.WithTimeout(ctx, verifyWithin)
	defer cancel()
	r, err := a.verify(ctx, verify.Options{Secrets: []string{name}, Brief: true})
	if err != nil || a.current.Load().rings[name].Active().ID != t.active {
		t.next = now.Add(verifySoon)
		return
	}
	t.schedule(r, guard, time.Now()) // by when it was answered
	a.tellVerified(ctx, name, t, r)
	if age < guard {
		a.goBack(ctx, name, ring, t, r)
	}
}

// schedule notes what was seen, and when to look again.
func (t *turned) schedule(r verify.Report, guard time.Duration, now time.Time) {
	t.next = now.Add(min(max(guard/verifyParts, verifyLeast), verifyMost))
	if t.count(r) {
		t.next = now.Add(askedAgain(guard))
	}
}

// askedAgain is how long after the first refusal the second is asked for: a node of
// the provider with an old copy of what it knows of us has had time to see to that.
func askedAgain(guard time.Duration) time.Duration {
	if guard > 0 && guard < 3*verifyApart {
		return guard / 3
	}
	return verifyApart
}

// reconnect has a provider that refused our credential asked over a new connection:
// the one that is kept alive may lead to one node of many.
func (a *app) reconnect(name string) {
	for _, p := range a.verifiedPeers(a.current.Load()) {
		if p.Client != nil && p.Secret == name {
			p.Client.CloseIdle()
		}
	}
	if name == namePDPSecret {
		a.resources.authorizing.remote.transport.CloseIdleConnections()
	}
}

// count notes what was refused for certain; soon: to be sure, it has to be asked once
// more. What stays refused and does not go back is asked as seldom as what is good:
// to a provider we look like somebody who guesses, and it may lock us out for that.
func (t *turned) count(r verify.Report) (soon bool) {
	for _, c := range r.Checks {
		if !c.OK && c.Definite && c.Blames == t.active {
			t.fails[c.ID]++
			soon = soon || t.fails[c.ID] < verifyTwice
			continue
		}
		delete(t.fails, c.ID)
	}
	return soon
}

// tellVerified logs and records what is new.
func (a *app) tellVerified(ctx context.Context, name string, t *turned, r verify.Report) {
	text := ""
	for _, c := range r.Failed() {
		text += c.ID + "\n"
	}
	if t.told == text+"." {
		return
	}
	t.told = text + "."
	a.recordVerified(ctx, "after a rotation", name, t.active, r)
	if r.OK {
		a.log.Info("verified after a rotation", "secret", name, "version", t.active)
		return
	}
	for _, c := range r.Failed() {
		a.log.Warn("a check fails after a rotation", "secret", name, "version", t.active, "check", c.ID, "saw", c.Saw, "cause", c.Cause, "cure", c.Cure)
	}
}

// goBack brings the version before back when the new one is refused, for certain and
// twice in a row, some time apart, while that before it passes the same check. What may have its cause
// elsewhere is no reason: going back would not cure it.
func (a *app) goBack(ctx context.Context, name string, ring keyring.Ring, t *turned, r verify.Report) {
	previous, ok := ring.Previous()
	if !ok {
		return
	}
	for _, c := range r.Failed() {
		if t.fails[c.ID] < verifyTwice || c.Spares != previous.ID {
			continue
		}
		why := fmt.Sprintf("verification: %s: %s", c.ID, c.Saw)
		a.log.Warn("a version fails a check that the one before it passes; going back", "secret", name, "version", t.active, "check", c.ID, "saw", c.Saw)
		if err := a.runner.Withdraw(ctx, name, t.active, why); err != nil {
			a.log.Error("going back after a failed verification did not succeed", "secret", name, "version", t.active, "error", err.Error())
			t.next = time.Now().Add(verifySoon)
		}
		return
	}
}

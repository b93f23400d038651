package app

import (
	"fmt"
	"strings"
	"time"

	"keyway/internal/admin"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/rotation"
	"keyway/internal/session"
)

// planOf says what rotating a secret would do.
func (a *app) planOf(d definition, ring keyring.Ring, roll rotation.Roll, counts *session.VersionCount, compromised bool) admin.Plan {
	turned := a.turnings[d.name]
	policy := turned.Policy(ring)
	p := admin.Plan{Secret: d.name, From: ring.Active().ID}
	say := func(format string, args ...any) { p.Steps = append(p.Steps, fmt.Sprintf(format, args...)) }
	pending, waiting := ring.Pending()
	switch {
	case waiting:
		say("join the rotation to %s, which is under way", pending.ID)
	case turned.Make == nil:
		p.Refused = turned.HandIn
		return p
	case ring.Active().HandedIn:
		say("make a new version here; the value that is handed in now is not used any more when that is retired")
	default:
		say("make a new version")
	}
	live := 0
	for _, r := range roll.Replicas(d.name) {
		if roll.Now.Before(r.Seen.Add(policy.Gone)) {
			live++
			if _, holds := r.Holds[pending.ID]; waiting && !holds {
				p.Blocked = append(p.Blocked, r.ID)
			}
		}
	}
	say("wait until %s", replicas(live))
	if policy.Kind == rotation.Outward {
		say("prove it at the %s, without a side effect", peerKind(d.name))
	}
	if compromised {
		a.planCompromise(&p, d, ring, counts, say)
	} else {
		say("use it; the one before is still accepted")
		say("watch for %s, and go back by itself if it is refused more than before", round(policy.Guard))
		if turned.Tend != nil {
			say("retire the one before when nothing depends on it, at the latest %s after", round(max(policy.Guard, policy.Lifetime+policy.Skew)))
		} else {
			say("retire the one before %s after, when all that was issued with it has expired", round(max(policy.Guard, policy.Lifetime+policy.Skew)))
		}
		p.Notices = append(p.Notices, "nobody")
	}
	now := roll.Now
	if now.Before(roll.Ready) {
		now = roll.Ready
	}
	if policy.Kind == rotation.Inward {
		p.EarliestAt = &now
	}
	return p
}

// planCompromise says who notices when there is no overlap.
func (a *app) planCompromise(p *admin.Plan, d definition, ring keyring.Ring, counts *session.VersionCount, say func(string, ...any)) {
	older := func(of map[string]int) (n int) {
		for v := range ring.Live() {
			n += of[v.ID]
		}
		return n
	}
	notice := func(format string, args ...any) { p.Notices = append(p.Notices, fmt.Sprintf(format, args...)) }
	switch d.name {
	case nameSessionKey:
		say("use it, seal all stored sessions anew with it, and end the others within %s", round(sealAnewWithin))
		if n := older(counts.SessionKey); n > 0 {
			notice("nobody: %s sealed anew", are(n, "session"))
		} else {
			notice("nobody")
		}
	case fleet.KeyEncryptionKey:
		say("use it, seal all kept secrets anew with it, and end the others within %s", round(sealAnewWithin))
		notice("nobody")
	case nameTokenHashSalt:
		say("use it, and end the others at once, with the sessions that are named by them")
		if n := older(counts.Salt); n > 0 {
			notice("%s signed out, and can sign in again", are(n, "session"))
		} else {
			notice("nobody: nobody is signed in")
		}
	case nameUAHashSalt:
		say("use it, and end the others at once")
		if a.config.Session.BindAddressPrefix.Enabled() || a.config.Session.BindUserAgent {
			notice("%s bound by them, and signed out", are(older(counts.UA), "session"))
		} else {
			notice("nobody: sessions are not bound")
		}
	case nameCSRFKey:
		say("use it, and end the others at once")
		notice("pages that are open: their next change is refused once, until they have fetched a new CSRF token")
	case nameStateKey:
		say("use it, and end the others at once")
		notice("users who are at the identity provider's sign-in page now: they begin again")
	case nameDPoPKey:
		say("use it, and end the others at once")
		notice("nobody whose session has a refresh token: their access tokens are renewed at the next request, which waits for it; the others' calls fail until they sign in again")
	case namePDPSecret:
		say("use it, and end the others at once; remove them at the policy decision point, too: only that keeps a thief from using them")
		notice("nobody, once the policy decision point has accepted the new one")
	case nameSigningKey:
		say("use it, and withdraw the others from /.well-known/jwks.json at once")
		notice("nobody, once the identity provider has accepted the new key")
	default:
		say("use it, and end the others at once; remove them at the identity provider, too: only that keeps a thief from using them")
		notice("nobody, once the identity provider has accepted the new one")
	}
}

func replicas(n int) string {
	if n == 1 {
		return "this replica holds it"
	}
	return fmt.Sprintf("all %d live replicas hold it", n)
}

func are(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

// round says a duration in words: 8 h 1 min.
func round(d time.Duration) string {
	d = d.Round(time.Second)
	var words []string
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / unit.of; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, unit.name))
			d -= n * unit.of
		}
	}
	if len(words) == 0 {
		return "0 s"
	}
	return strings.Join(words, " ")
}

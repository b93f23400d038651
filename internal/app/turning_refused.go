package app

import (
	"fmt"
	"sync"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/rotation"
)

// refuser is which of several peers refused a version last. It is safe for concurrent use.
type refuser struct {
	mu            sync.Mutex
	version, peer string
}

// note reports whether it is the first refusal of that version.
func (r *refuser) note(version, peer string) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = r.version != version
	r.version, r.peer = version, peer
	return first
}

func (r *refuser) of(version string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.version != version {
		return ""
	}
	return r.peer
}

// issuerOf names one of the users of a secret, and whether there are others.
func (a *app) issuerOf(users []string, by string) string {
	issuer := a.resources.peers[by].Issuer()
	if len(users) > 1 {
		issuer = fmt.Sprintf("%s (client %s, one of %d that have to accept it)", issuer, a.clientIDs[by], len(users))
	}
	return issuer
}

// registerAt is what helps where a new client secret is refused.
func (a *app) registerAt(users []string, by string) string {
	return fmt.Sprintf("register the new client secret at %s (client %s), or wait until it knows it; the old one stays in use until then", a.issuerOf(users, by), a.clientIDs[by])
}

// tellRefused says once of a version that its peer refuses it: most often it was not
// registered there, or not yet. A new signing key is refused as a rule, until the peer
// has fetched it, and is not told of.
func (a *app) tellRefused(d definition, version, peer, cure string) {
	v, _ := a.current.Load().rings[d.name].Find(version)
	if v.State != keyring.Pending { // one in use is for package verify to tell of
		return
	}
	a.log.Warn("the peer refuses a new value so far; it is asked again, and what is in use stays in use", "secret", d.name, "version", version, "peer", peer, "cure", cure)
}

// operator says what a person has to do for the peer to accept a pending version; by
// is the one of users that refuses it.
func (a *app) operator(d definition, users []string, by string, v keyring.Version, p rotation.Proof) string {
	if p.Accepted || p.FirstRefused.IsZero() || time.Since(p.FirstRefused) < 10*time.Second {
		return ""
	}
	if d.peer {
		return a.registerAt(users, by)
	}
	issuer := a.issuerOf(users, by)
	switch {
	case a.overheard.fetched().IsZero():
		return fmt.Sprintf("nobody has fetched our keys yet: if %s keeps our key set itself, register the public key with kid %s there (it is in /.well-known/jwks.json); if it fetches them, see that it can reach that address", issuer, v.ID)
	}
	return fmt.Sprintf("our keys have been fetched, and %s may go on by what it holds until its cache is over; if it keeps our key set itself, register the public key with kid %s there (it is in /.well-known/jwks.json)", issuer, v.ID)
}

package authz

import (
	"time"

	"github.com/maypok86/otter/v2"

	"keyway/internal/principal"
)

// Bounds of what is kept of subjects between questions. The memory is that of ten
// thousand people with a few roles, or of three hundred with as many as there may be:
// of the latter each takes fifty times as much. The time is how long what is known of
// somebody stays in memory when nobody asks for him any more.
const (
	subjectsMemory = 32 << 20 // bytes
	subjectsKept   = time.Minute
)

// subjects are those who have asked lately, in the words of AuthZEN, and what the PDP
// has prepared of them: a question by the same claims needs neither again. Safe for
// concurrent use.
type subjects struct {
	naming   naming
	preparer Preparer // nil: the PDP prepares nothing
	known    *otter.Cache[subjectKey, *subject]
}

// subjectKey says where to look, and subject.of whether it is the right one.
type subjectKey struct{ provider, subject, session, client string }

// subject is immutable.
type subject struct {
	of principal.Principal
	Entity
	prepared any
}

// weight is about what a subject takes in memory, in bytes, with what a PDP makes of
// it: of a role that is a member of a set, and another entity.
func (s *subject) weight() uint32 {
	p := &s.of
	n := 2000 + 2*(len(p.Provider)+len(p.Subject)+len(p.SessionID)+len(p.ClientID)+len(p.Email)+len(p.Name))
	for _, list := range [...][]string{p.Roles, p.Permissions, p.Scopes} {
		for _, right := range list {
			n += 128 + len(right)
		}
	}
	return uint32(n)
}

func newSubjects(n naming, pdp PDP) *subjects {
	s := &subjects{naming: n}
	s.preparer, _ = pdp.(Preparer)
	s.known = otter.Must(&otter.Options[subjectKey, *subject]{
		MaximumWeight:    subjectsMemory,
		Weigher:          func(_ subjectKey, s *subject) uint32 { return s.weight() },
		ExpiryCalculator: otter.ExpiryWriting[subjectKey, *subject](subjectsKept),
	})
	return s
}

func (s *subjects) close() {
	s.known.InvalidateAll()
	s.known.StopAllGoroutines()
}

// get is who, by each of the claims that he has now: what was kept by others is not
// used.
func (s *subjects) get(who *principal.Principal) *subject {
	k := subjectKey{who.Provider, who.Subject, who.SessionID, who.ClientID}
	if found, ok := s.known.GetIfPresent(k); ok && found.of.Equal(who) {
		return found
	}
	made := &subject{of: *who, Entity: s.naming.of(who)}
	if s.preparer != nil {
		// What can't be prepared is an error where it is asked about.
		made.prepared, _ = s.preparer.Prepare(made.Entity)
	}
	s.known.Set(k, made)
	return made
}

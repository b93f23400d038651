package app

import (
	"log/slog"
	"maps"
	"sync"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret/source"
)

// sources is what was last found where secrets are handed in. It is safe for
// concurrent use.
type sources struct {
	mu      sync.Mutex
	given   map[string]given
	trouble map[string]source.Why
	unused  map[string]unused
}

// unused is a version that is handed in and not in use.
type unused struct {
	version string
	since   time.Time
	told    bool
}

// unusedFor is how long that is nothing to speak of: files of a fleet change at
// different moments, in Kubernetes up to some minutes apart.
const unusedFor = 5 * time.Minute

func newSources(first map[string]given) *sources {
	return &sources{given: maps.Clone(first), trouble: map[string]source.Why{}, unused: map[string]unused{}}
}

func (s *sources) all() map[string]given {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.given)
}

// of is the id of the value that is handed in, and the kind of trouble with it.
func (s *sources) of(name string) (version, trouble string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given[name].current.ID, string(s.trouble[name])
}

// reading notes what was found.
func (s *sources) reading(d definition, r source.Reading) {
	g := given{current: d.candidate(r.Current.Value), origin: r.Current.Origin}
	if r.Previous != nil && d.check(r.Previous.Value) == nil {
		previous := d.candidate(r.Previous.Value)
		g.previous = &previous
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given[d.name] = g
}

func (s *sources) troubled(t source.Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t.Over:
		delete(s.trouble, t.Name)
	case t.Why != source.Same:
		s.trouble[t.Name] = t.Why
	}
}

// settled says once when what is handed in has not been the version in use for a
// while: a file that lags behind others, or that Keyway's own version has replaced.
func (s *sources) settled(log *slog.Logger, name string, v keyring.Version, origin string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.State == keyring.Pending || v.State == keyring.Active {
		delete(s.unused, name)
		return
	}
	u := s.unused[name]
	if u.version != v.ID {
		s.unused[name] = unused{version: v.ID, since: now}
		return
	}
	if u.told || now.Sub(u.since) < unusedFor {
		return
	}
	u.told = true
	s.unused[name] = u
	log.Warn("the value that is handed in is not the one in use; a new value is taken up when it is there",
		"secret", name, "version", v.ID, "state", string(v.State), "from", origin)
}

package app

import (
	"log/slog"
	"maps"
	"sync"

	"keyway/internal/keyring"
	"keyway/internal/secret/source"
)

// sources is what was last found where secrets are handed in. It is safe for
// concurrent use.
type sources struct {
	mu      sync.Mutex
	given   map[string]given
	trouble map[string]source.Why
	told    map[string]string // version that was complained of, by secret
}

func newSources(first map[string]given) *sources {
	return &sources{given: maps.Clone(first), trouble: map[string]source.Why{}, told: map[string]string{}}
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

// settled says once when what is handed in is a version that is not to be used
// any more.
func (s *sources) settled(log *slog.Logger, name string, v keyring.Version, origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := !v.State.Live() || v.State == keyring.Retiring
	if !old {
		delete(s.told, name)
		return
	}
	if s.told[name] == v.ID {
		return
	}
	s.told[name] = v.ID
	log.Warn("what is handed in is a version that others have replaced; the newer one stays in use, and a new value is taken up when it is there",
		"secret", name, "version", v.ID, "state", string(v.State), "from", origin)
}

package source

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"keyway/internal/secret"
)

// Secret is one secret to watch. Either Variable or File is set.
type Secret struct {
	// Name is what it is reported as.
	Name string
	// Variable is looked for as secret.Finder does: in VARIABLE_FILE, in the
	// environment, in the folder of secrets. Its previous value is looked for in
	// the same way as VARIABLE_PREVIOUS, and in files that are named as the
	// secret's own with _previous or -previous added.
	Variable string
	// File is a path that a configuration names. Its previous value is beside it.
	File string
	// Check refuses a value that can't be used; nil takes any. Its error must
	// not show the value. It is called at each look, in the Watcher's goroutine.
	Check func(secret.Value) error
}

// places are where one value may be.
type places struct {
	constant secret.Found // from the environment, which does not change
	paths    []string     // the first that exists is used
	must     bool         // somebody named the path: nothing there is trouble
	optional bool         // that what was there is gone is no trouble
}

func (p places) index(path string) int { return slices.Index(p.paths, path) }

// locate reads the environment; files are only named.
func locate(f secret.Finder, s Secret) (current, previous places, err error) {
	switch {
	case s.Name == "":
		return places{}, places{}, errors.New("a secret to watch has no name")
	case (s.Variable == "") == (s.File == ""):
		return places{}, places{}, fmt.Errorf("%s: expected either a variable or a file to watch, found both or neither", s.Name)
	}
	if s.File != "" {
		path, err := filepath.Abs(s.File)
		if err != nil {
			return places{}, places{}, fmt.Errorf("%s: %w", s.Name, err)
		}
		current = places{paths: []string{path}, must: true}
		return current, places{paths: withPrevious(current.paths), optional: true}, nil
	}
	if current, err = locateVariable(f, s.Variable); err != nil {
		return places{}, places{}, err
	}
	if previous, err = locateVariable(f, s.Variable+"_PREVIOUS"); err != nil {
		return places{}, places{}, err
	}
	// VARIABLE_PREVIOUS_FILE may be set for good, to a file that is there only
	// during a rotation.
	named := previous.must
	previous.must, previous.optional = false, true
	if named || !previous.constant.Value.IsZero() {
		return current, previous, nil
	}
	beside := withPrevious(current.paths)
	if len(current.paths) == 0 {
		beside = withPrevious(f.Paths(s.Variable))
	}
	for _, path := range beside {
		if path, err = filepath.Abs(path); err == nil && !slices.Contains(previous.paths, path) {
			previous.paths = append(previous.paths, path)
		}
	}
	return current, previous, nil
}

func locateVariable(f secret.Finder, variable string) (places, error) {
	if path, ok := f.Env(variable + "_FILE"); ok && path != "" {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return places{}, fmt.Errorf("%s_FILE: %w", variable, err)
		}
		return places{paths: []string{absolute}, must: true}, nil
	}
	if text, ok := f.Env(variable); ok && text != "" {
		value := secret.NewValue(secret.TrimNewline([]byte(text)))
		return places{constant: secret.Found{Value: value, Origin: "environment " + variable}}, nil
	}
	var p places
	for _, path := range f.Paths(variable) {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return places{}, fmt.Errorf("%s: %w", variable, err)
		}
		p.paths = append(p.paths, absolute)
	}
	return p, nil
}

func withPrevious(paths []string) []string {
	var all []string
	for _, path := range paths {
		all = append(all, path+"_previous", path+"-previous")
	}
	return all
}

// slot is what is known of one of a secret's two values.
type slot struct {
	places
	good     sighting // the last good one; zero: none yet
	folder   string   // where good's file really was
	away     time.Time
	trouble  Trouble
	troubled bool
}

func (s *slot) has() bool { return s.good.place != "" }

// see looks at the places in their order. A file that was used and is gone is
// waited for, for grace, before another place is believed: what lies there may
// be old.
func (s *slot) see(r *reader, check func(secret.Value) error, grace time.Duration, now time.Time, known ...secret.Value) sighting {
	if !s.constant.Value.IsZero() {
		seen := sighting{place: s.constant.Origin, found: s.constant}
		if check != nil {
			if err := check(s.constant.Value); err != nil {
				return sighting{place: s.constant.Origin, why: Refused, detail: err.Error()}
			}
		}
		return seen
	}
	seen := sighting{absent: true}
	for _, path := range s.paths {
		if seen = r.read(path, check, known...); !seen.absent {
			break
		}
	}
	if !seen.absent && (!s.has() || s.index(seen.place) <= s.index(s.good.place)) {
		s.away = time.Time{}
		return seen
	}
	if !s.has() {
		if s.must {
			return missing(s.paths[0])
		}
		return sighting{absent: true}
	}
	if s.away.IsZero() {
		s.away = now
	}
	switch waiting := now.Sub(s.away) < grace; {
	case waiting && s.optional:
		return s.good // as if it were still there
	case waiting, seen.absent && !s.optional:
		return missing(s.good.place)
	}
	return seen
}

func missing(path string) sighting {
	return sighting{place: path, why: Missing, detail: "expected a file, found nothing"}
}

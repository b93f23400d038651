package keyring

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"time"

	"keyway/internal/secret"
)

// State is where a version is in its life.
type State string

// The states of a version, in the order in which it passes through them.
const (
	// Pending: accepted and published, not yet issued with.
	Pending State = "pending"
	// Active: issued with and accepted. A ring has exactly one.
	Active State = "active"
	// Retiring: accepted and published, no longer issued with.
	Retiring State = "retiring"
	// Retired: neither; the value is erased, id and dates stay for the record.
	Retired State = "retired"
	// Rejected: it was pending, and the peer or the operator said no. Like
	// retired, but it never was issued with.
	Rejected State = "rejected"
)

// Live reports whether what was issued with a version in this state is accepted.
func (s State) Live() bool { return s == Pending || s == Active || s == Retiring }

// Errors of [Ring.Lookup]. They are told apart because they mean different
// things: an unknown version may be one that this replica has not loaded yet; a
// retired one is over.
var (
	ErrUnknownVersion = errors.New("keyring: unknown version")
	ErrRetired        = errors.New("keyring: version is retired")
)

// Version is one value of a secret.
type Version struct {
	ID          string // unique for ever in its ring; printable, safe in a cookie
	State       State
	CreatedAt   time.Time
	ActivatedAt time.Time // zero: never was active
	RetiresAt   time.Time // since when it is retiring; zero: it never was
	// Withdrawn: it was active and rolled back, or never was active here, and can't
	// become so.
	Withdrawn bool
	// Compromised: it was ended because somebody else may have its value.
	Compromised bool
	// Exposed: somebody else may have its value, and it lives until there is another,
	// which then takes over; see [Ring.Expose].
	Exposed bool
	// TakesOver: when this pending version becomes active, it does so without
	// overlap, because the ones before it are compromised.
	TakesOver bool
	// HandedIn: an operator or a secret store chose the value; else Keyway made it.
	HandedIn bool
	Value    secret.Value
}

// Ring is the versions of one secret. It is immutable and safe for concurrent
// use; the zero Ring holds nothing.
type Ring struct {
	name     string
	versions []Version // newest first
	active   int
}

// IDForm keeps ids to what is safe, unescaped, in a cookie, a header, a file name, a
// metric label, a terminal and a JWS kid, and free of the dot that separates fields.
const IDForm = `^[A-Za-z0-9_-]{1,64}$`

var idPattern = regexp.MustCompile(IDForm)

// IsID reports whether id is of the form IDForm, so that it could be a version's.
func IsID(id string) bool { return idPattern.MatchString(id) }

// New builds a ring, checking what must always hold: ids are well-formed and
// unique, exactly one version is active, and each live version has a value
// while each retired one has none.
func New(name string, versions ...Version) (Ring, error) {
	ring := Ring{name: name, versions: slices.Clone(versions), active: -1}
	seen := make(map[string]bool, len(versions))
	pending := -1
	for i, v := range versions {
		switch {
		case !IsID(v.ID):
			return Ring{}, fmt.Errorf("keyring %s: version id %q is not of the form %s", name, v.ID, idPattern)
		case seen[v.ID]:
			return Ring{}, fmt.Errorf("keyring %s: two versions have the id %s", name, v.ID)
		case !v.State.Live() && v.State != Retired && v.State != Rejected:
			return Ring{}, fmt.Errorf("keyring %s: version %s has the unknown state %q", name, v.ID, v.State)
		case v.State.Live() && v.Value.IsZero():
			return Ring{}, fmt.Errorf("keyring %s: version %s is %s but has no value", name, v.ID, v.State)
		case !v.State.Live() && !v.Value.IsZero():
			return Ring{}, fmt.Errorf("keyring %s: version %s is %s but still has a value", name, v.ID, v.State)
		case v.State == Pending && pending >= 0:
			return Ring{}, fmt.Errorf("keyring %s: versions %s and %s are both pending", name, versions[pending].ID, v.ID)
		case v.State == Active && (v.Withdrawn || v.Compromised):
			return Ring{}, fmt.Errorf("keyring %s: version %s was withdrawn or compromised, and is active", name, v.ID)
		case v.Exposed && !v.State.Live():
			return Ring{}, fmt.Errorf("keyring %s: version %s is exposed, and is %s", name, v.ID, v.State)
		case v.TakesOver && v.State != Pending:
			return Ring{}, fmt.Errorf("keyring %s: version %s takes over, and is %s", name, v.ID, v.State)
		case v.State == Active && ring.active >= 0:
			return Ring{}, fmt.Errorf("keyring %s: versions %s and %s are both active", name, versions[ring.active].ID, v.ID)
		case v.State == Active:
			ring.active = i
		case v.State == Pending:
			pending = i
		}
		seen[v.ID] = true
	}
	if ring.active < 0 {
		return Ring{}, fmt.Errorf("keyring %s: no version is active", name)
	}
	return ring, nil
}

// Name is the secret's name, such as "session-key".
func (r Ring) Name() string { return r.name }

// IsZero reports whether the ring was never built.
func (r Ring) IsZero() bool { return len(r.versions) == 0 }

// Active is the version to issue with. It panics on the zero Ring, which holds
// nothing to issue with.
func (r Ring) Active() Version { return r.versions[r.active] }

// Lookup finds the live version with this id. It fails with ErrUnknownVersion
// or ErrRetired.
func (r Ring) Lookup(id string) (Version, error) {
	for _, v := range r.versions {
		if v.ID != id {
			continue
		}
		if !v.State.Live() {
			return Version{}, ErrRetired
		}
		return v, nil
	}
	return Version{}, ErrUnknownVersion
}

// Find is the version with this id, whatever its state.
func (r Ring) Find(id string) (Version, bool) {
	if i := r.index(id); i >= 0 {
		return r.versions[i], true
	}
	return Version{}, false
}

// Same reports whether two rings have the same versions in the same states, so
// that what was decided for the one holds for the other.
func Same(a, b Ring) bool {
	return slices.EqualFunc(a.versions, b.versions, func(v, w Version) bool {
		return v.ID == w.ID && v.State == w.State && v.Withdrawn == w.Withdrawn && v.Compromised == w.Compromised &&
			v.Exposed == w.Exposed && v.TakesOver == w.TakesOver
	})
}

// Live yields the versions whose artefacts are accepted, the active one first.
func (r Ring) Live() iter.Seq[Version] {
	return func(yield func(Version) bool) {
		if r.IsZero() || !yield(r.versions[r.active]) {
			return
		}
		for i, v := range r.versions {
			if i != r.active && v.State.Live() && !yield(v) {
				return
			}
		}
	}
}

// All yields every version, retired ones too, in the order given to New.
func (r Ring) All() iter.Seq[Version] { return slices.Values(r.versions) }

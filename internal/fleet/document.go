package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"keyway/internal/keyring"
	"keyway/internal/keyring/ringjson"
	"keyway/internal/secret"
)

// documentFormat is in every document.
const documentFormat = 1

// DocumentError says that a ring can't be kept, because nobody could read it
// again.
type DocumentError struct{ Ring, Why string }

func (e *DocumentError) Error() string {
	return fmt.Sprintf("fleet: the ring %s can't be kept: %s", e.Ring, e.Why)
}

// RingDocument is a ring in the form that is kept, before it is sealed: it has
// the values in it. Fields that this release does not know are kept, so that
// going back a release, or a fleet of two releases, loses nothing.
type RingDocument struct {
	Ring     keyring.Ring
	unknown  ringjson.Members
	versions map[string]ringjson.Members // unknown members, by version id
}

// ParseRingDocument reads what Encode writes. Its errors name fields, never what
// is in them.
func ParseRingDocument(content []byte) (RingDocument, error) {
	raw, err := ringjson.Parse(content)
	if err != nil {
		return RingDocument{}, err
	}
	var name string
	if err := errors.Join(raw.TakeFormat(documentFormat), raw.Take("name", &name)); err != nil {
		return RingDocument{}, err
	}
	versions, err := raw.TakeVersions()
	if err != nil {
		return RingDocument{}, err
	}
	d := RingDocument{unknown: raw, versions: make(map[string]ringjson.Members, len(versions))}
	parsed := make([]keyring.Version, len(versions))
	for i, raw := range versions {
		v, err := parseVersion(raw)
		if err != nil {
			return RingDocument{}, fmt.Errorf("versions[%d]: %w", i, err)
		}
		parsed[i] = v
		d.versions[v.ID] = raw
	}
	d.Ring, err = keyring.New(name, parsed...)
	return d, err
}

func parseVersion(raw ringjson.Members) (keyring.Version, error) {
	v, err := raw.TakeVersion()
	var value []byte
	if err := errors.Join(err, raw.Take("value", &value)); err != nil {
		return keyring.Version{}, err
	}
	if len(value) > 0 {
		v.Value = secret.NewValue(value)
	}
	return v, nil
}

// With is the document with another state of the same ring in it, without what
// that need not know any more. Where two states of a ring are made one, what the
// one has forgotten is thereby not brought back by the other.
func (d RingDocument) With(ring keyring.Ring) RingDocument {
	d.Ring = ring.Prune()
	return d
}

// Encode writes the document. The result is as secret as what is in it. What
// ParseRingDocument would not read is refused, with a *DocumentError.
func (d RingDocument) Encode() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	versions := []ringjson.Object{}
	for v := range d.Ring.All() {
		o := d.versions[v.ID].Object()
		o.PutVersion(v)
		o.Put("value", v.Value.Reveal(), !v.Value.IsZero())
		versions = append(versions, o)
	}
	all := d.unknown.Object()
	all["format"], all["name"], all["versions"] = documentFormat, d.Ring.Name(), versions
	content, err := json.Marshal(all)
	if err != nil {
		return nil, &DocumentError{d.Ring.Name(), "a date is out of range, or an unknown field is no JSON: " + err.Error()}
	}
	return content, nil
}

// check is for what a Ring does not see to by itself.
func (d RingDocument) check() error {
	n := 0
	for range d.Ring.All() {
		n++
	}
	why := ""
	switch {
	case n == 0:
		why = "expected an active version, found an empty ring"
	case ringjson.CheckCount(n) != nil:
		why = ringjson.CheckCount(n).Error()
	case !utf8.ValidString(d.Ring.Name()):
		why = "expected a name in UTF-8"
	default:
		return nil
	}
	return &DocumentError{d.Ring.Name(), why}
}

// successor checks that next can come after d: whatever the ring has ever had is
// still in it, unless it has ended before so many others that it is forgotten; and
// nothing is back from the dead. A replica that writes from a
// backup, or from a bug, must not undo that.
func (d RingDocument) successor(next keyring.Ring) error {
	states := map[string]keyring.State{}
	for v := range next.All() {
		states[v.ID] = v.State
	}
	for v := range d.Ring.All() {
		state, there := states[v.ID]
		switch {
		case !there && !v.State.Live() && next.Forgot(v):
		case !there:
			return &SuccessionError{Ring: d.Ring.Name(), Version: v.ID, Found: v.State}
		case !v.State.Live() && state != v.State,
			v.State != keyring.Pending && state == keyring.Pending:
			return &SuccessionError{Ring: d.Ring.Name(), Version: v.ID, Found: v.State, Next: state}
		}
	}
	return nil
}

// SuccessionError says that a ring can't be saved over the one that is there.
type SuccessionError struct {
	Ring, Version string
	Found         keyring.State
	Next          keyring.State // empty: it is missing
}

func (e *SuccessionError) Error() string {
	next := "is missing"
	if e.Next != "" {
		next = "is " + string(e.Next)
	}
	return fmt.Sprintf("fleet: the ring %s can't be saved: version %s is %s in the fleet's ring, and in this one %s; load the ring, and move that on",
		e.Ring, e.Version, e.Found, next)
}

package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// documentFormat is in every document. One with another number is from a newer
// release, and refused rather than misread; what a newer release adds without
// changing what is there keeps the number, and is carried along.
const documentFormat = 1

// maxVersions bounds a document. A ring forgets what it need not know, long before
// it has so many; see keyring.MaxEnded.
const maxVersions = 10_000

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
	unknown  fields
	versions map[string]fields // unknown fields, by version id
}

type fields map[string]json.RawMessage

// ParseRingDocument reads what Encode writes. Its errors name fields, never what
// is in them.
func ParseRingDocument(content []byte) (RingDocument, error) {
	var raw fields
	if err := json.Unmarshal(content, &raw); err != nil || raw == nil {
		return RingDocument{}, errors.New("expected a JSON object, found something else")
	}
	var format int
	var name string
	var versions []fields
	if err := errors.Join(raw.take("format", &format), raw.take("name", &name), raw.take("versions", &versions)); err != nil {
		return RingDocument{}, err
	}
	switch {
	case format != documentFormat:
		return RingDocument{}, fmt.Errorf("expected format %d, found %d; was it written by a newer release?", documentFormat, format)
	case len(versions) > maxVersions:
		return RingDocument{}, fmt.Errorf("expected at most %d versions, found %d", maxVersions, len(versions))
	}
	d := RingDocument{unknown: raw, versions: make(map[string]fields, len(versions))}
	parsed := make([]keyring.Version, len(versions))
	for i, raw := range versions {
		v, err := parseVersion(raw)
		if err != nil {
			return RingDocument{}, fmt.Errorf("versions[%d]: %w", i, err)
		}
		parsed[i] = v
		d.versions[v.ID] = raw
	}
	var err error
	d.Ring, err = keyring.New(name, parsed...)
	return d, err
}

func parseVersion(raw fields) (keyring.Version, error) {
	var v keyring.Version
	var value []byte
	err := errors.Join(
		raw.take("id", &v.ID),
		raw.take("state", &v.State),
		raw.take("created_at", &v.CreatedAt),
		raw.take("activated_at", &v.ActivatedAt),
		raw.take("retires_at", &v.RetiresAt),
		raw.take("withdrawn", &v.Withdrawn),
		raw.take("compromised", &v.Compromised),
		raw.take("exposed", &v.Exposed),
		raw.take("takes_over", &v.TakesOver),
		raw.take("handed_in", &v.HandedIn),
		raw.take("value", &value),
	)
	if err != nil {
		return keyring.Version{}, err
	}
	if len(value) > 0 {
		v.Value = secret.NewValue(value)
	}
	return v, nil
}

// take moves a member into v, if it is there.
func (f fields) take(name string, v any) error {
	raw, ok := f[name]
	if !ok {
		return nil
	}
	delete(f, name)
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: has the wrong type or form", name) // err may quote it
	}
	return nil
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
	versions := []map[string]any{}
	for v := range d.Ring.All() {
		m := d.versions[v.ID].members()
		m["id"], m["state"] = v.ID, v.State
		put(m, "created_at", v.CreatedAt.UTC(), !v.CreatedAt.IsZero())
		put(m, "activated_at", v.ActivatedAt.UTC(), !v.ActivatedAt.IsZero())
		put(m, "retires_at", v.RetiresAt.UTC(), !v.RetiresAt.IsZero())
		put(m, "withdrawn", true, v.Withdrawn)
		put(m, "compromised", true, v.Compromised)
		put(m, "exposed", true, v.Exposed)
		put(m, "takes_over", true, v.TakesOver)
		put(m, "handed_in", true, v.HandedIn)
		put(m, "value", v.Value.Reveal(), !v.Value.IsZero())
		versions = append(versions, m)
	}
	all := d.unknown.members()
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
	case n > maxVersions:
		why = fmt.Sprintf("expected at most %d versions, found %d", maxVersions, n)
	case !utf8.ValidString(d.Ring.Name()):
		why = "expected a name in UTF-8"
	default:
		return nil
	}
	return &DocumentError{d.Ring.Name(), why}
}

func (f fields) members() map[string]any {
	m := make(map[string]any, len(f)+8)
	for name, value := range f {
		m[name] = value
	}
	return m
}

func put(m map[string]any, name string, value any, present bool) {
	if present {
		m[name] = value
	}
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

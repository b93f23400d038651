package ringjson

import (
	"encoding/json"
	"errors"
	"fmt"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
)

// MaxVersions bounds a document. A ring forgets what it need not know, long before
// it has so many; see keyring.MaxEnded.
const MaxVersions = 10_000

// Members are those of a JSON object that nobody has taken yet.
type Members map[string]json.RawMessage

// Parse reads an object strictly: in UTF-8, and with no member twice.
func Parse(content []byte) (Members, error) {
	var m Members
	err := jwks.DecodeObject(content, &m)
	return m, err
}

// Take moves a member into v, if it is there.
func (m Members) Take(name string, v any) error {
	raw, ok := m[name]
	if !ok {
		return nil
	}
	delete(m, name)
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: has the wrong type or form", name) // err may quote it
	}
	return nil
}

// TakeFormat takes the number of the document's form. One with another number is
// from a newer release, and refused rather than misread; what a newer release adds
// without changing what is there keeps the number.
func (m Members) TakeFormat(want int) error {
	var found int
	if err := m.Take("format", &found); err != nil {
		return err
	}
	if found != want {
		return fmt.Errorf("expected format %d, found %d; was it written by a newer release?", want, found)
	}
	return nil
}

// TakeVersions takes the objects of the versions, at most MaxVersions.
func (m Members) TakeVersions() ([]Members, error) {
	var versions []Members
	if err := m.Take("versions", &versions); err != nil {
		return nil, err
	}
	return versions, CheckCount(len(versions))
}

// CheckCount refuses to write what would not be read.
func CheckCount(versions int) error {
	if versions > MaxVersions {
		return fmt.Errorf("expected at most %d versions, found %d", MaxVersions, versions)
	}
	return nil
}

// TakeVersion takes all of a version but its value.
func (m Members) TakeVersion() (v keyring.Version, err error) {
	err = errors.Join(
		m.Take("id", &v.ID),
		m.Take("state", &v.State),
		m.Take("created_at", &v.CreatedAt),
		m.Take("activated_at", &v.ActivatedAt),
		m.Take("retires_at", &v.RetiresAt),
		m.Take("withdrawn", &v.Withdrawn),
		m.Take("compromised", &v.Compromised),
		m.Take("exposed", &v.Exposed),
		m.Take("takes_over", &v.TakesOver),
		m.Take("handed_in", &v.HandedIn),
	)
	return v, err
}

// Object is an object to be written, with m in it.
func (m Members) Object() Object {
	o := make(Object, len(m)+8)
	for name, value := range m {
		o[name] = value
	}
	return o
}

// Object is one that is to be written.
type Object map[string]any

// Put adds a member, if it is present.
func (o Object) Put(name string, value any, present bool) {
	if present {
		o[name] = value
	}
}

// PutVersion adds all of a version but its value.
func (o Object) PutVersion(v keyring.Version) {
	o["id"], o["state"] = v.ID, v.State
	o.Put("created_at", v.CreatedAt.UTC(), !v.CreatedAt.IsZero())
	o.Put("activated_at", v.ActivatedAt.UTC(), !v.ActivatedAt.IsZero())
	o.Put("retires_at", v.RetiresAt.UTC(), !v.RetiresAt.IsZero())
	o.Put("withdrawn", true, v.Withdrawn)
	o.Put("compromised", true, v.Compromised)
	o.Put("exposed", true, v.Exposed)
	o.Put("takes_over", true, v.TakesOver)
	o.Put("handed_in", true, v.HandedIn)
}

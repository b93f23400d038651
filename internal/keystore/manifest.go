package keystore

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/keyring/ringjson"
	"keyway/internal/secret"
)

// manifestFormat is written to every manifest; one with a higher number is
// from a newer release, and refused rather than misread.
const manifestFormat = 1

// manifest is the record of a secret's versions. Fields that this release does
// not know are carried along, so that going back a release loses nothing.
type manifest struct {
	Name     string
	Versions []entry
	unknown  ringjson.Members
}

// entry is one version, without its value: that is in a file named by the id.
type entry struct {
	keyring.Version
	Alg     string // empty: any that fits the key
	unknown ringjson.Members
}

// parseManifest reads what encode writes, and whatever a newer release of the
// same format added to it.
func parseManifest(content []byte) (manifest, error) {
	raw, err := ringjson.Parse(content)
	if err != nil {
		return manifest{}, err
	}
	var m manifest
	if err := errors.Join(raw.TakeFormat(manifestFormat), raw.Take("name", &m.Name)); err != nil {
		return manifest{}, err
	}
	versions, err := raw.TakeVersions()
	if err != nil {
		return manifest{}, err
	}
	m.unknown = raw
	for i, v := range versions {
		e, err := parseEntry(v)
		if err != nil {
			return manifest{}, fmt.Errorf("versions[%d]: %w", i, err)
		}
		m.Versions = append(m.Versions, e)
	}
	return m, nil
}

func parseEntry(raw ringjson.Members) (entry, error) {
	var e entry
	var err error
	e.Version, err = raw.TakeVersion()
	if err := errors.Join(err, raw.Take("alg", &e.Alg)); err != nil {
		return entry{}, err
	}
	if !keyring.IsID(e.ID) { // it becomes part of a file's name
		return entry{}, fmt.Errorf("expected an id of the form %s, found another", keyring.IDForm)
	}
	if !e.State.Live() && e.State != keyring.Retired && e.State != keyring.Rejected {
		return entry{}, fmt.Errorf("expected a state of pending, active, retiring, retired or rejected, found %.20q", e.State)
	}
	e.unknown = raw
	return e, nil
}

// ManifestError says that a manifest can't be written, because nobody could read
// it again.
type ManifestError struct{ Name, Why string }

func (e *ManifestError) Error() string {
	return fmt.Sprintf("the manifest of %s can't be written: %s", e.Name, e.Why)
}

// encode writes the manifest for people to read, members in the order of
// their names. What parseManifest would not read is refused, with a
// *ManifestError.
func (m manifest) encode() ([]byte, error) {
	if err := ringjson.CheckCount(len(m.Versions)); err != nil {
		return nil, &ManifestError{m.Name, err.Error()}
	}
	versions := []ringjson.Object{}
	for _, e := range m.Versions {
		v := e.unknown.Object()
		v.PutVersion(e.Version)
		v.Put("alg", e.Alg, e.Alg != "")
		versions = append(versions, v)
	}
	all := m.unknown.Object()
	all["format"], all["name"], all["versions"] = manifestFormat, m.Name, versions
	content, err := encode(all)
	if err == nil && len(content) > maxFile {
		err = &ManifestError{m.Name, fmt.Sprintf("expected at most %d bytes, found %d", maxFile, len(content))}
	}
	return content, err
}

func encode(members ringjson.Object) ([]byte, error) {
	content, err := json.MarshalIndent(members, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("a date is out of range, or an unknown field is no JSON: %w", err)
	}
	return append(content, '\n'), nil
}

// ring builds the ring of the manifest's versions, with the values that value
// finds for the live ones.
func (m manifest) ring(value func(entry) (secret.Value, error)) (keyring.Ring, error) {
	versions := make([]keyring.Version, len(m.Versions))
	for i, e := range m.Versions {
		versions[i] = e.Version
		if !e.State.Live() {
			continue
		}
		v, err := value(e)
		if err != nil {
			return keyring.Ring{}, err
		}
		versions[i].Value = v
	}
	return keyring.New(m.Name, versions...)
}

// with is the manifest of another state of the ring; alg is that of a live
// version's key. What this release does not know of a version stays with it.
func (m manifest) with(ring keyring.Ring, alg map[string]string) manifest {
	next := manifest{Name: ring.Name(), unknown: m.unknown}
	for v := range ring.All() {
		e, _ := m.entry(v.ID)
		e.Version = v
		e.Value = secret.Value{}
		if a, live := alg[v.ID]; live {
			e.Alg = a
		}
		next.Versions = append(next.Versions, e)
	}
	return next
}

// related reports whether it and the ring are of one key: they share a version.
func (m manifest) related(ring keyring.Ring) bool {
	return slices.ContainsFunc(m.Versions, func(e entry) bool {
		_, common := ring.Find(e.ID)
		return common
	})
}

// entry finds a version, live or not, in the record.
func (m manifest) entry(id string) (entry, bool) {
	i := slices.IndexFunc(m.Versions, func(e entry) bool { return e.ID == id })
	if i < 0 {
		return entry{}, false
	}
	return m.Versions[i], true
}

// first is the one version that a record begins with.
func first(id string) keyring.Version {
	now := time.Now().UTC().Truncate(time.Second)
	return keyring.Version{ID: id, State: keyring.Active, CreatedAt: now, ActivatedAt: now}
}

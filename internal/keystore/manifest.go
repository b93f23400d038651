package keystore

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	josejson "github.com/go-jose/go-jose/v4/json"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// manifestFormat is written to every manifest; one with a higher number is
// from a newer release, and refused rather than misread.
const manifestFormat = 1

// maxVersions bounds a manifest. A ring forgets what it need not know, long before
// it has so many; see keyring.MaxEnded.
const maxVersions = 10_000

// manifest is the record of a secret's versions. Fields that this release does
// not know are carried along, so that going back a release loses nothing.
type manifest struct {
	Name     string
	Versions []entry
	unknown  fields
}

// entry is one version, without its value: that is in a file named by the id.
type entry struct {
	keyring.Version
	Alg     string // empty: any that fits the key
	unknown fields
}

type fields map[string]josejson.RawMessage

// parseManifest reads what encode writes, and whatever a newer release of the
// same format added to it.
func parseManifest(content []byte) (manifest, error) {
	var raw fields
	if err := jwks.DecodeObject(content, &raw); err != nil {
		return manifest{}, err
	}
	var m manifest
	var format int
	var versions []fields
	err := errors.Join(
		raw.take("format", &format),
		raw.take("name", &m.Name),
		raw.take("versions", &versions),
	)
	switch {
	case err != nil:
		return manifest{}, err
	case format != manifestFormat:
		return manifest{}, fmt.Errorf("expected format %d, found %d; was it written by a newer release?", manifestFormat, format)
	case len(versions) > maxVersions:
		return manifest{}, fmt.Errorf("expected at most %d versions, found %d", maxVersions, len(versions))
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

func parseEntry(raw fields) (entry, error) {
	var e entry
	err := errors.Join(
		raw.take("id", &e.ID),
		raw.take("state", &e.State),
		raw.take("alg", &e.Alg),
		raw.take("created_at", &e.CreatedAt),
		raw.take("activated_at", &e.ActivatedAt),
		raw.take("retires_at", &e.RetiresAt),
		raw.take("withdrawn", &e.Withdrawn),
		raw.take("compromised", &e.Compromised),
		raw.take("exposed", &e.Exposed),
		raw.take("takes_over", &e.TakesOver),
		raw.take("handed_in", &e.HandedIn),
	)
	if err != nil {
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

// take moves a member into v, if it is there.
func (f fields) take(name string, v any) error {
	raw, ok := f[name]
	if !ok {
		return nil
	}
	delete(f, name)
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: has the wrong type or form", name)
	}
	return nil
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
	if n := len(m.Versions); n > maxVersions {
		return nil, &ManifestError{m.Name, fmt.Sprintf("expected at most %d versions, found %d", maxVersions, n)}
	}
	versions := []map[string]any{}
	for _, e := range m.Versions {
		v := e.unknown.members()
		v["id"], v["state"] = e.ID, e.State
		put(v, "alg", e.Alg, e.Alg != "")
		put(v, "created_at", e.CreatedAt.UTC(), !e.CreatedAt.IsZero())
		put(v, "activated_at", e.ActivatedAt.UTC(), !e.ActivatedAt.IsZero())
		put(v, "retires_at", e.RetiresAt.UTC(), !e.RetiresAt.IsZero())
		put(v, "withdrawn", true, e.Withdrawn)
		put(v, "compromised", true, e.Compromised)
		put(v, "exposed", true, e.Exposed)
		put(v, "takes_over", true, e.TakesOver)
		put(v, "handed_in", true, e.HandedIn)
		versions = append(versions, v)
	}
	all := m.unknown.members()
	all["format"], all["name"], all["versions"] = manifestFormat, m.Name, versions
	content, err := encode(all)
	if err == nil && len(content) > maxFile {
		err = &ManifestError{m.Name, fmt.Sprintf("expected at most %d bytes, found %d", maxFile, len(content))}
	}
	return content, err
}

func encode(members map[string]any) ([]byte, error) {
	content, err := json.MarshalIndent(members, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("a date is out of range, or an unknown field is no JSON: %w", err)
	}
	return append(content, '\n'), nil
}

func (f fields) members() map[string]any {
	m := make(map[string]any, len(f)+8)
	for name, value := range f {
		m[name] = json.RawMessage(value)
	}
	return m
}

func put(m map[string]any, name string, value any, present bool) {
	if present {
		m[name] = value
	}
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

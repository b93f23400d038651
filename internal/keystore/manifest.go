package keystore

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
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

// maxVersions bounds a manifest: at one rotation a day, 27 years.
const maxVersions = 10_000

// manifest is the record of a secret's versions. Fields that this release does
// not know are carried along, so that going back a release loses nothing.
type manifest struct {
	Name     string
	Versions []entry
	unknown  fields
}

// entry is one version. The value is elsewhere (a file named by the id), or in
// Sealed.
type entry struct {
	ID          string
	State       keyring.State
	Alg         string // signing keys; empty: any that fits the key
	CreatedAt   time.Time
	ActivatedAt time.Time
	RetiresAt   time.Time
	Sealed      []byte // managed secrets: the value under a key-encryption key
	unknown     fields
}

type fields map[string]josejson.RawMessage

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// parseManifest reads what String-ing a manifest writes, and whatever a newer
// release of the same format added to it.
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
		raw.take("sealed", &e.Sealed),
	)
	if err != nil {
		return entry{}, err
	}
	if !idPattern.MatchString(e.ID) { // it becomes part of a file's name
		return entry{}, fmt.Errorf("expected an id of the form %s, found another", idPattern)
	}
	if !e.State.Live() && e.State != keyring.Retired {
		return entry{}, fmt.Errorf("expected a state of pending, active, retiring or retired, found %.20q", e.State)
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

// encode writes the manifest for people to read, members in the order of
// their names.
func (m manifest) encode() ([]byte, error) {
	versions := make([]map[string]any, len(m.Versions))
	for i, e := range m.Versions {
		v := e.unknown.copy()
		v["id"], v["state"], v["created_at"] = e.ID, e.State, e.CreatedAt.UTC()
		put(v, "alg", e.Alg, e.Alg != "")
		put(v, "activated_at", e.ActivatedAt.UTC(), !e.ActivatedAt.IsZero())
		put(v, "retires_at", e.RetiresAt.UTC(), !e.RetiresAt.IsZero())
		put(v, "sealed", e.Sealed, len(e.Sealed) > 0)
		versions[i] = v
	}
	all := m.unknown.copy()
	all["format"], all["name"], all["versions"] = manifestFormat, m.Name, versions
	content, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the manifest of %s: %w", m.Name, err)
	}
	return append(content, '\n'), nil
}

func (f fields) copy() map[string]any {
	m := make(map[string]any, len(f)+7)
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

// ring builds the ring of the manifest's versions, with the values that open
// finds for the live ones.
func (m manifest) ring(value func(entry) (secret.Value, error)) (keyring.Ring, error) {
	versions := make([]keyring.Version, len(m.Versions))
	for i, e := range m.Versions {
		versions[i] = keyring.Version{
			ID: e.ID, State: e.State,
			CreatedAt: e.CreatedAt, ActivatedAt: e.ActivatedAt, RetiresAt: e.RetiresAt,
		}
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

// holds reports whether a version with this id, live or not, is in the record.
func (m manifest) holds(id string) bool {
	return slices.ContainsFunc(m.Versions, func(e entry) bool { return e.ID == id })
}

// first is a manifest with one active version.
func first(name string, e entry) manifest {
	now := time.Now().UTC().Truncate(time.Second)
	e.State, e.CreatedAt, e.ActivatedAt = keyring.Active, now, now
	return manifest{Name: name, Versions: []entry{e}}
}

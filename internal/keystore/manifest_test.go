package keystore

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/keyring"
)

func TestSeveralVersionsAndUnknownFields(t *testing.T) {
	s, ring := mustStart(t, filepath.Join(t.TempDir(), "keys"), Options{})
	other, others := mustStart(t, filepath.Join(t.TempDir(), "keys"), Options{Algorithm: "EdDSA"})
	active, next := ring.Active().ID, others.Active().ID
	write(t, s.Dir(), pemFile(next), string(content(t, other.Dir(), pemFile(next))))
	write(t, s.Dir(), signingManifest, `{"format":1,"name":"signing-key","note":{"by":"a newer release"},"versions":[
		{"id":"`+next+`","state":"pending","alg":"EdDSA","created_at":"2026-11-02T00:00:00Z","proof":[1,2]},
		{"id":"`+active+`","state":"active","alg":"ES256","created_at":"2026-11-01T00:00:00Z","activated_at":"2026-11-01T00:00:00Z"},
		{"id":"gone","state":"retired","created_at":"2026-10-01T00:00:00Z","retires_at":"2026-11-01T00:00:00Z"}]}`)
	again, ring := mustStart(t, s.Dir(), Options{})
	if ring.Active().ID != active {
		t.Errorf("active: %s", ring.Active().ID)
	}
	if v, err := ring.Lookup(next); err != nil || v.State != keyring.Pending || v.CreatedAt.Day() != 2 {
		t.Errorf("pending: %+v, %v", v, err)
	}
	if _, err := ring.Lookup("gone"); err != keyring.ErrRetired {
		t.Errorf("retired: %v", err)
	}
	if public := string(content(t, s.Dir(), "jwks.json")); !strings.Contains(public, next) || !strings.Contains(public, active) || strings.Contains(public, "gone") {
		t.Errorf("jwks.json: %s", public)
	}
	m := must(again.load(signingManifest))(t)
	encoded := must(m.encode())(t)
	for _, want := range []string{`"note": {`, `"a newer release"`, `"proof": [`, `"retires_at": "2026-11-01T00:00:00Z"`} {
		if !bytes.Contains(encoded, []byte(want)) {
			t.Errorf("written again without %s:\n%s", want, encoded)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"name":"x","versions":[{"id":"a","state":"active","alg":"ES256","created_at":"2026-11-01T00:00:00Z","x":1}],"y":[]}`))
	f.Add([]byte(`{"format":1,"versions":[{"id":"../a","state":"active"}]}`))
	f.Add([]byte(`{"format":1,"name":"x","versions":[{"id":"a","state":"pending","takes_over":true,"handed_in":true},{"id":"b","state":"rejected"},{"id":"c","state":"retiring","withdrawn":true,"compromised":true,"activated_at":"2026-11-01T00:00:00Z","retires_at":"2026-11-02T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		once, err := m.encode()
		if err != nil {
			t.Skip() // a date beyond what JSON can say
		}
		again, err := parseManifest(once)
		if err != nil {
			t.Fatalf("what was written can't be read: %v\n%s", err, once)
		}
		twice, err := again.encode()
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("written twice, differs:\n%s\n%s", once, twice)
		}
		for _, e := range m.Versions {
			if filepath.Base(pemFile(e.ID)) != pemFile(e.ID) {
				t.Errorf("the id %q leaves the folder", e.ID)
			}
		}
	})
}

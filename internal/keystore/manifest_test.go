package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/keyring/ringjson"
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

// Nothing is written that can't be read again: the keys would be lost.
func TestAManifestThatNobodyCouldReadIsNotWritten(t *testing.T) {
	with := func(n int, note string) manifest {
		m := manifest{Name: signingName, unknown: ringjson.Members{"note": []byte(`"` + note + `"`)}}
		for i := range n {
			m.Versions = append(m.Versions, entry{Version: keyring.Version{ID: fmt.Sprint("v", i), State: keyring.Retired}})
		}
		return m
	}
	if content, err := with(ringjson.MaxVersions, "").encode(); err != nil {
		t.Error(err)
	} else if _, err := parseManifest(content); err != nil {
		t.Error(err)
	}
	for says, m := range map[string]manifest{"at most 10000 versions": with(ringjson.MaxVersions+1, ""), "bytes": with(1, strings.Repeat("x", maxFile))} {
		var refused *ManifestError
		if _, err := m.encode(); !errors.As(err, &refused) || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

// That a version is exposed is in the manifest, and in the ring that is read from
// it.
func TestAManifestKeepsThatAVersionIsExposed(t *testing.T) {
	s, ring := withKey(t, Options{})
	exposed := must(ring.Expose(ring.Active().ID))(t)
	mirror(t, s, exposed)
	if got := signing(t, s); !got.Urgent() || !got.Active().Exposed {
		t.Errorf("%+v", got.Active())
	}
}

// The folder forgets with the ring, and a key file of what was forgotten goes.
func TestMirrorForgets(t *testing.T) {
	s, ring := withKey(t, Options{})
	active := ring.Active()
	next := candidate(t, "")
	old := must(must(ring.Add(next, noon))(t).Activate(next.ID, noon))(t)
	mirror(t, s, old) // the first is retiring, and its key there
	versions := []keyring.Version{{ID: next.ID, State: keyring.Active, CreatedAt: noon, ActivatedAt: noon, Value: next.Value}}
	for i := range keyring.MaxEnded {
		at := time.Now().Add(time.Duration(i) * time.Hour)
		versions = append(versions, keyring.Version{ID: fmt.Sprint("v", i), State: keyring.Retired, CreatedAt: at, ActivatedAt: at})
	}
	for range 2 {
		mirror(t, s, must(keyring.New(signingName, versions...))(t))
		if _, known := signing(t, s).Find(active.ID); known {
			t.Error("the folder remembers what the ring has forgotten")
		}
		if _, err := os.Stat(filepath.Join(s.Dir(), pemFile(active.ID))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("its key is left: %v", err)
		}
	}
}

// Proposals that came to nothing are known to the folder alone; it does not grow with
// them.
func TestMirrorForgetsProposals(t *testing.T) {
	s, ring := withKey(t, Options{})
	m := must(s.load(signingManifest))(t)
	for i := range 3 * keyring.MaxEnded {
		m.Versions = append(m.Versions, entry{Version: keyring.Version{ID: fmt.Sprint("p", i), State: keyring.Rejected, CreatedAt: noon}})
	}
	write(t, s.Dir(), signingManifest, string(must(m.encode())(t)))
	mirror(t, s, ring)
	if n := len(must(s.load(signingManifest))(t).Versions); n > keyring.MaxEnded+1 {
		t.Errorf("%d versions", n)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"name":"x","versions":[{"id":"a","state":"active","alg":"ES256","created_at":"2026-11-01T00:00:00Z","x":1}],"y":[]}`))
	f.Add([]byte(`{"format":1,"versions":[{"id":"../a","state":"active"}]}`))
	f.Add([]byte(`{"format":1,"name":"x","versions":[{"id":"a","state":"pending","takes_over":true,"handed_in":true},{"id":"d","state":"active","exposed":true},{"id":"b","state":"rejected"},{"id":"c","state":"retiring","withdrawn":true,"compromised":true,"activated_at":"2026-11-01T00:00:00Z","retires_at":"2026-11-02T00:00:00Z"}]}`))
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

package keystore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// withKey opens a new folder with its first key.
func withKey(t testing.TB, o Options) (*Store, keyring.Ring) {
	t.Helper()
	return mustStart(t, filepath.Join(fastDir(t), "keys"), o)
}

func candidate(t testing.TB, algorithm string) keyring.Candidate {
	t.Helper()
	id, value, err := NewSigningKey(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return keyring.Candidate{ID: id, Value: value}
}

func mirror(t testing.TB, s *Store, ring keyring.Ring) {
	t.Helper()
	if err := s.Mirror(ring); err != nil {
		t.Fatal(err)
	}
	checkFolder(t, s.Dir())
}

func signing(t testing.TB, s *Store) keyring.Ring {
	t.Helper()
	return must(s.Signing())(t)
}

func TestOpenMakesNothing(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{})
	if ring := signing(t, s); !ring.IsZero() {
		t.Errorf("a ring: %s", look(ring))
	}
	if files := must(filepath.Glob(filepath.Join(s.Dir(), "[^.]*")))(t); len(files) != 0 {
		t.Errorf("files: %v", files)
	}
	ring := must(s.FirstSigning())(t)
	if look(signing(t, s)) != look(ring) || look(must(s.FirstSigning())(t)) != look(ring) {
		t.Error("another ring the next time")
	}
	checkFolder(t, s.Dir())
}

// A ring goes through its life elsewhere, and the folder follows.
func TestMirrorFollows(t *testing.T) {
	s, ring := withKey(t, Options{})
	first := ring.Active().ID
	next := candidate(t, jwks.EdDSA)
	next.HandedIn = true
	ring = must(ring.Add(next, noon))(t)
	ring = must(ring.Urge(next.ID))(t)
	mirror(t, s, ring)
	ring = must(ring.Activate(next.ID, noon))(t)
	mirror(t, s, ring)
	ring = must(ring.RollBack(noon))(t)
	mirror(t, s, ring)
	third := candidate(t, "")
	ring = must(ring.Add(third, noon))(t)
	ring = must(ring.Reject(third.ID))(t)
	mirror(t, s, ring)
	fourth := candidate(t, "")
	ring = must(ring.Add(fourth, noon))(t)
	ring = must(ring.Condemn(fourth.ID, noon))(t)
	mirror(t, s, ring)

	got, want := slices.Collect(signing(t, s).All()), slices.Collect(ring.All())
	for i := range want {
		if !got[i].Value.Equal(want[i].Value) {
			t.Errorf("%s has another value", want[i].ID)
		}
		got[i].Value, want[i].Value = secret.Value{}, secret.Value{}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	ring = must(ring.Retire(first))(t)
	mirror(t, s, ring)
	for _, ended := range []string{first, third.ID} {
		if _, err := os.Stat(filepath.Join(s.Dir(), pemFile(ended))); err == nil {
			t.Errorf("the key of %s is still there", ended)
		}
	}
	if public := must(readPublic(s.Dir()))(t); !slices.Equal(public, []string{fourth.ID, next.ID}) {
		t.Errorf("published: %v", public)
	}
	if notices := s.Notices(); len(notices) != 0 {
		t.Errorf("notices of a healthy folder: %q", notices)
	}
	before := must(os.Stat(filepath.Join(s.Dir(), signingManifest)))(t)
	mirror(t, s, ring)
	if after := must(os.Stat(filepath.Join(s.Dir(), signingManifest)))(t); !os.SameFile(before, after) {
		t.Error("the same ring again was written again")
	}
}

func TestMirrorKeepsWhatItDoesNotKnow(t *testing.T) {
	s, ring := withKey(t, Options{})
	text := string(content(t, s.Dir(), signingManifest))
	text = strings.Replace(text, `"state"`, `"proof": [1, 2], "state"`, 1)
	text = strings.Replace(text, `"format"`, `"note": {"by": "a newer release"}, "format"`, 1)
	write(t, s.Dir(), signingManifest, text)
	next := candidate(t, "")
	ring = must(ring.Add(next, noon))(t)
	ring = must(ring.Activate(next.ID, noon))(t)
	mirror(t, s, ring)
	after := content(t, s.Dir(), signingManifest)
	for _, want := range []string{`"by": "a newer release"`, `"proof": [`} {
		if !bytes.Contains(after, []byte(want)) {
			t.Errorf("%s is lost:\n%s", want, after)
		}
	}
}

// What a sidecar proposes while the gateway writes is not lost.
func TestMirrorMeetsAProposal(t *testing.T) {
	t.Run("it stays", func(t *testing.T) {
		s, ring := withKey(t, Options{})
		p := must(s.Propose(ProposeOptions{}))(t)
		mirror(t, s, ring)
		got := signing(t, s)
		if pending, ok := got.Pending(); !ok || pending.ID != p.To {
			t.Errorf("ring: %s", look(got))
		}
	})
	t.Run("it gives way", func(t *testing.T) {
		s, ring := withKey(t, Options{})
		p := must(s.Propose(ProposeOptions{}))(t)
		other := candidate(t, "")
		ring = must(ring.Add(other, noon))(t)
		mirror(t, s, ring)
		if got := look(signing(t, s)); got != look(ring)+" "+p.To+":rejected" {
			t.Errorf("ring: %s", got)
		}
		if _, err := os.Stat(filepath.Join(s.Dir(), pemFile(p.To))); err == nil {
			t.Error("its key is still there")
		}
		if n := s.Notices(); len(n) != 1 || !strings.Contains(n[0], p.To) {
			t.Errorf("notices: %q", n)
		}
		// The record stays, also when the ring that never had it moves on.
		ring = must(ring.Activate(other.ID, noon))(t)
		mirror(t, s, ring)
		if got := look(signing(t, s)); !strings.HasSuffix(got, p.To+":rejected") {
			t.Errorf("ring: %s", got)
		}
	})
}

// A ring from before, be it a slow replica's or a backup's, must not undo what
// the folder has seen.
func TestMirrorRefusesAnOlderRing(t *testing.T) {
	threat.Covers(t, 63)
	s, one := withKey(t, Options{})
	next := candidate(t, "")
	two := must(one.Add(next, noon))(t)
	three := must(two.Activate(next.ID, noon))(t)
	four := must(three.Retire(one.Active().ID))(t)
	for name, c := range map[string]struct {
		folder, ring keyring.Ring
		version      string
	}{
		"destroyed key comes back":  {four, three, one.Active().ID},
		"active key is pending":     {three, two, next.ID},
		"active key was never here": {three, one, next.ID},
	} {
		t.Run(name, func(t *testing.T) {
			mirror(t, s, c.folder)
			err := s.Mirror(c.ring)
			stale, ok := errors.AsType[*StaleError](err)
			if !ok || stale.Version != c.version {
				t.Fatalf("got %v", err)
			}
			if got := look(signing(t, s)); got != look(c.folder) {
				t.Errorf("ring: %s", got)
			}
			checkFolder(t, s.Dir())
			if err := os.Remove(filepath.Join(s.Dir(), signingManifest)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestMirrorIntoAFolderOfAnother(t *testing.T) {
	s, own := withKey(t, Options{})
	_, ring := withKey(t, Options{})
	mirror(t, s, ring)
	if got := look(signing(t, s)); got != look(ring) {
		t.Errorf("ring: %s", got)
	}
	if _, err := os.Stat(filepath.Join(s.Dir(), pemFile(own.Active().ID))); err != nil {
		t.Error("a key that nobody else may have was destroyed")
	}
	if n := s.Notices(); len(n) != 1 || !strings.Contains(n[0], own.Active().ID) || !strings.Contains(n[0], "not used") {
		t.Errorf("notices: %q", n)
	}
}

func TestMirrorRefusesWhatIsNoSigningRing(t *testing.T) {
	s, ring := withKey(t, Options{})
	a, b := candidate(t, ""), candidate(t, "")
	swapped := must(ring.Add(keyring.Candidate{ID: a.ID, Value: b.Value}, noon))(t)
	junk := must(ring.Add(keyring.Candidate{ID: a.ID, Value: secret.NewValue([]byte("hunter2"))}, noon))(t)
	for name, bad := range map[string]keyring.Ring{"zero": {}, "swapped": swapped, "junk": junk} {
		if err := s.Mirror(bad); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		if got := look(signing(t, s)); got != look(ring) {
			t.Errorf("%s: ring %s", name, got)
		}
		checkFolder(t, s.Dir())
	}
}

func TestRetiredKeyFromABackup(t *testing.T) {
	threat.Covers(t, 63)
	s, ring := withKey(t, Options{})
	old := ring.Active().ID
	backup := string(content(t, s.Dir(), pemFile(old)))
	next := candidate(t, "")
	ring = must(ring.Add(next, noon))(t)
	ring = must(ring.Activate(next.ID, noon))(t)
	ring = must(ring.Retire(old))(t)
	mirror(t, s, ring)
	restore := func() { write(t, s.Dir(), pemFile(old), backup) }
	told := func(s *Store, says string) {
		t.Helper()
		if !slices.ContainsFunc(s.Notices(), func(n string) bool {
			return strings.Contains(n, pemFile(old)) && strings.Contains(n, "retired") && strings.Contains(n, says)
		}) {
			t.Errorf("nothing that says %q in %q", says, s.Notices())
		}
	}
	unused := func(s *Store) {
		t.Helper()
		if _, err := signing(t, s).Lookup(old); !errors.Is(err, keyring.ErrRetired) {
			t.Errorf("the restored key: %v", err)
		}
		if public := must(readPublic(s.Dir()))(t); slices.Contains(public, old) {
			t.Error("the restored key is published")
		}
	}
	t.Run("while it runs", func(t *testing.T) {
		restore()
		unused(s)
		told(s, "should be removed")
	})
	t.Run("before a start", func(t *testing.T) {
		restore()
		again, _ := mustStart(t, s.Dir(), Options{})
		unused(again)
		told(again, "should be removed")
	})
	t.Run("by a proposal", func(t *testing.T) {
		restore()
		again := mustOpen(t, s.Dir(), Options{})
		if p := must(again.Propose(ProposeOptions{}))(t); p.To == old {
			t.Error("the restored key was proposed")
		}
		unused(again)
	})
	t.Run("as the key handed in", func(t *testing.T) {
		restore()
		again, _ := mustStart(t, s.Dir(), Options{Adopt: secret.NewValue([]byte(backup))})
		unused(again)
	})
	t.Run("it goes with the next change", func(t *testing.T) {
		restore()
		mirror(t, s, signing(t, s))
		unused(s)
		told(s, "is removed")
		if _, err := os.Stat(filepath.Join(s.Dir(), pemFile(old))); err == nil {
			t.Error("it is still there")
		}
	})
}

// A lost manifest: the key that was published as the active one is in use again,
// not the one whose file is newest.
func TestOrphanThatWasPublished(t *testing.T) {
	s, ring := withKey(t, Options{})
	must(s.Propose(ProposeOptions{}))(t)
	if err := os.Remove(filepath.Join(s.Dir(), signingManifest)); err != nil {
		t.Fatal(err)
	}
	if got := must(s.FirstSigning())(t); got.Active().ID != ring.Active().ID {
		t.Error("another key is active")
	}
	checkFolder(t, s.Dir())
}

func TestRSAKeepsItsAlgorithm(t *testing.T) {
	if testing.Short() {
		t.Skip("making RSA keys of 3072 bits takes seconds under the race detector")
	}
	s, ring := withKey(t, Options{Algorithm: jwks.PS256})
	again := mustOpen(t, s.Dir(), Options{})
	p := must(again.Propose(ProposeOptions{}))(t)
	pending, _ := p.Ring.Pending()
	key, err := jwks.ParseKey(pending.Value)
	if err != nil || key.Algorithm() != jwks.PS256 {
		t.Errorf("the next key is for %v, %v", key.Algorithms(), err)
	}
	mirror(t, s, ring) // the value in the ring has the algorithm, the file has not
	if got := signing(t, s); !got.Active().Value.Equal(ring.Active().Value) {
		t.Error("the value differs")
	}
}

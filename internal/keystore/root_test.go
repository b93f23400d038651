package keystore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"keyway/internal/secret"
)

func ids(keys []RootKey) string {
	var list []string
	for _, k := range keys {
		list = append(list, k.ID)
	}
	return strings.Join(list, " ")
}

func TestRootKeys(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{})
	keys := must(s.RootKeys())(t)
	if len(keys) != 1 || keys[0].Value.Len() != 48 || keys[0].ID != secret.Fingerprint(rootName, keys[0].Value) {
		t.Fatalf("keys: %s", ids(keys))
	}
	if err := secret.CheckStrength("root-key", keys[0].Value); err != nil {
		t.Error(err)
	}
	if info := must(os.Stat(filepath.Join(s.Dir(), rootFile(keys[0].ID))))(t); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if shown := fmt.Sprintf("%v %+v %#v", keys, keys, keys); strings.Contains(shown, string(keys[0].Value.Reveal())) {
		t.Error("printed")
	}
	old := keys[0].ID
	if err := s.DropRoot(old); !errors.Is(err, ErrLastRoot) {
		t.Errorf("dropping the last: %v", err)
	}
	next := must(s.TurnRoot())(t)
	third := must(s.TurnRoot())(t)
	again := mustOpen(t, s.Dir(), Options{})
	if got := ids(must(again.RootKeys())(t)); got != third.ID+" "+next.ID+" "+old {
		t.Errorf("keys: %s", got)
	}
	for range 2 { // the second time it is gone already
		if err := s.DropRoot(old); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DropRoot("../x"); err == nil {
		t.Error("an id that leaves the folder")
	}

	// One that is damaged is passed over, and is not what DropRoot leaves.
	write(t, s.Dir(), rootFile(next.ID), "{}")
	if got := must(s.RootKeys())(t); ids(got) != third.ID || !got[0].Value.Equal(third.Value) {
		t.Errorf("keys: %s", ids(got))
	}
	if n := s.Notices(); len(n) != 1 || !strings.Contains(n[0], next.ID) {
		t.Errorf("notices: %q", n)
	}
	if err := s.DropRoot(third.ID); !errors.Is(err, ErrLastRoot) {
		t.Errorf("dropping the last that can be read: %v", err)
	}
	// Nothing but damage: a new key would open nothing.
	write(t, s.Dir(), rootFile(third.ID), strings.Replace(string(content(t, s.Dir(), rootFile(third.ID))), `"value": "`, `"value": "AAAA`, 1))
	if _, err := s.RootKeys(); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("got %v", err)
	}
	if err := os.Chmod(filepath.Join(s.Dir(), rootFile(third.ID)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.Dir(), Options{}); err == nil {
		t.Error("a root key that others can read was accepted")
	}
}

func TestRootKeysTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	got := make([]string, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			s, err := Open(dir, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			keys, err := s.RootKeys()
			if err != nil {
				t.Error(err)
			}
			got[i] = ids(keys)
		})
	}
	wg.Wait()
	for _, g := range got {
		if g != got[0] {
			t.Errorf("%s and %s", g, got[0])
		}
	}
}

func FuzzParseRoot(f *testing.F) {
	value := secret.NewValue([]byte("0123456789"))
	id := secret.Fingerprint(rootName, value)
	f.Add([]byte(`{"format":1,"created_at":"2026-11-22T12:00:00Z","value":"MDEyMzQ1Njc4OQ==","later":[]}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := parseRoot(id, text)
		if err == nil && !key.Value.Equal(value) {
			t.Errorf("a value that is not the one that the id is of")
		}
	})
}

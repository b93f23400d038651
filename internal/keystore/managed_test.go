package keystore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/secret"
)

func TestManagedSecrets(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{})
	session := must(s.ManagedRing("session-key"))(t)
	csrf := must(s.ManagedRing("csrf-key"))(t)
	value := session.Active().Value
	if value.Len() != 48 || value.Equal(csrf.Active().Value) || session.Name() != "session-key" {
		t.Errorf("got %d bytes, for %s", value.Len(), session.Name())
	}
	if err := secret.CheckStrength("session-key", value); err != nil {
		t.Error(err)
	}
	if session.Active().ID != secret.Fingerprint("session-key", value) {
		t.Error("the id is not the value's fingerprint, so replicas would name it differently")
	}
	again := must(mustOpen(t, s.Dir(), Options{}).ManagedRing("session-key"))(t)
	if !again.Active().Value.Equal(value) {
		t.Error("another value after a restart")
	}
	// The value is in no file in any common spelling.
	for _, file := range must(os.ReadDir(s.Dir()))(t) {
		text := content(t, s.Dir(), file.Name())
		for _, spelling := range []string{
			string(value.Reveal()), hex.EncodeToString(value.Reveal()),
			base64.StdEncoding.EncodeToString(value.Reveal()), base64.RawURLEncoding.EncodeToString(value.Reveal()),
		} {
			if bytes.Contains(text, []byte(spelling)) {
				t.Errorf("%s holds the value unsealed", file.Name())
			}
		}
	}
	for _, bad := range []string{"", "Session", "../x", "a/b", "client-secret/main", strings.Repeat("a", 64)} {
		if _, err := s.ManagedRing(bad); err == nil {
			t.Errorf("the name %q was accepted", bad)
		}
	}
}

func TestManagedSecretsNoticeTampering(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		says  string
	}{
		"files exchanged": {func(t *testing.T, dir string) {
			text := bytes.ReplaceAll(content(t, dir, "ring-csrf-key.json"), []byte(`"csrf-key"`), []byte(`"session-key"`))
			write(t, dir, "ring-session-key.json", string(text))
		}, "can't be unsealed"},
		"another id": {func(t *testing.T, dir string) {
			text := content(t, dir, "ring-session-key.json")
			i := bytes.Index(text, []byte(`"id": "`)) + 7
			text[i] = 'a' + (text[i]-'a'+1)%26
			write(t, dir, "ring-session-key.json", string(text))
		}, "can't be unsealed"},
		"key-encryption key gone": {func(t *testing.T, dir string) {
			for _, path := range must(filepath.Glob(filepath.Join(dir, "kek-*.key")))(t) {
				_ = os.Remove(path)
			}
			_ = os.Remove(filepath.Join(dir, kekManifest))
		}, "is not here"},
		"key-encryption key changed": {func(t *testing.T, dir string) {
			path := must(filepath.Glob(filepath.Join(dir, "kek-*.key")))(t)[0]
			write(t, dir, filepath.Base(path), base64.StdEncoding.EncodeToString(make([]byte, 48)))
		}, "another key than its name says"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{})
			must(s.ManagedRing("session-key"))(t)
			must(s.ManagedRing("csrf-key"))(t)
			c.spoil(t, s.Dir())
			_, err := s.ManagedRing("session-key")
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error that says %q", err, c.says)
			}
		})
	}
}

// The manifest of the key-encryption key can be made again from its files.
func TestKeyEncryptionManifestLost(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{})
	before := must(s.ManagedRing("session-key"))(t)
	if err := os.Remove(filepath.Join(s.Dir(), kekManifest)); err != nil {
		t.Fatal(err)
	}
	write(t, s.Dir(), "kek-junk.key", "junk")
	after := must(s.ManagedRing("session-key"))(t)
	if !after.Active().Value.Equal(before.Active().Value) {
		t.Error("another value")
	}
}

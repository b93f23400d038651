package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/threat"
)

const hidden = "correct-horse-battery-staple-0123456789"

// Whatever prints a Value, or a struct that holds one, shows nothing of it.
func TestValueIsNeverPrinted(t *testing.T) {
	threat.Covers(t, 23)
	v := NewValue([]byte(hidden))
	type exported struct{ Key Value }
	type unexported struct{ key Value }
	type deep struct {
		m map[string]Value
		p *unexported
		s []Value
	}
	d := deep{map[string]Value{"k": v}, &unexported{v}, []Value{v}}

	var out bytes.Buffer
	for _, x := range []any{v, &v, exported{v}, &exported{v}, unexported{v}, &unexported{v}, d, []any{v, d}, errors.Join(fmt.Errorf("key %v", v))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", x)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", x)
		j, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
	}
	// fmt prints bytes as decimal lists and hex as well as text.
	decimal := strings.Trim(fmt.Sprint([]byte(hidden)), "[]")
	for _, leak := range []string{hidden, decimal, fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden), hidden[:12]} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("a Value was printed as %q", leak)
		}
	}
}

func TestValueIsItsOwnCopy(t *testing.T) {
	b := []byte(hidden)
	v := NewValue(b)
	b[0] = 'X'
	if string(v.Reveal()) != hidden {
		t.Error("changing the source changed the Value")
	}
	if !v.Equal(NewValue([]byte(hidden))) || v.Equal(NewValue([]byte(hidden+"x"))) || v.Equal(Value{}) {
		t.Error("Equal is wrong")
	}
	if !(Value{}).IsZero() || v.IsZero() || v.Len() != len(hidden) {
		t.Error("IsZero or Len is wrong")
	}
}

func TestCheckStrength(t *testing.T) {
	for _, c := range []struct {
		value string
		says  string
	}{
		{hidden, ""},
		{strings.Repeat("0123456789abcdef", 4), ""},
		{"", "0 bytes"},
		{"short", "5 bytes"},
		{hidden[:31], "31 bytes"},
		{strings.Repeat("a", 64), "only 1 different"},
		{strings.Repeat("abcdefg", 9), "only 7 different"},
	} {
		err := CheckStrength("TOKEN_HASH_SALT", NewValue([]byte(c.value)))
		if (err == nil) != (c.says == "") {
			t.Errorf("%d bytes: %v, want %q", len(c.value), err, c.says)
			continue
		}
		if err == nil {
			continue
		}
		var weak *WeakError
		if !errors.As(err, &weak) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "TOKEN_HASH_SALT") {
			t.Errorf("error %q does not say %q", err, c.says)
		}
		if len(c.value) > 4 && strings.Contains(err.Error(), c.value) {
			t.Errorf("the error shows the value: %q", err)
		}
	}
}

func TestFingerprintIsStableAndSeparatesNames(t *testing.T) {
	v := NewValue([]byte(hidden))
	// Fixed on purpose: replicas of different releases must agree on it.
	if got := Fingerprint("token-hash-salt", v); got != "rkw6bdxesju724jo" {
		t.Errorf("fingerprint is %q", got)
	}
	if Fingerprint("a", v) == Fingerprint("b", v) || Fingerprint("a", v) == Fingerprint("a", NewValue([]byte(hidden+"1"))) {
		t.Error("fingerprints of different names or values agree")
	}
	first, second := FingerprintOfPeerSecret("a", v), FingerprintOfPeerSecret("a", v)
	if first != second || first == FingerprintOfPeerSecret("b", v) {
		t.Error("fingerprints of peer secrets are not stable, or do not separate names")
	}
}

func finder(dir string, env map[string]string) Finder {
	return Finder{
		Env:     func(n string) (string, bool) { v, ok := env[n]; return v, ok },
		Dir:     dir,
		Aliases: map[string][]string{"AUTH_CLIENT_SECRET": {"oidc-client-secret"}},
	}
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindOrder(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{}
	f := finder(dir, env)

	_, err := f.Find("CSRF_SECRET_KEY")
	var missing *NotFoundError
	if !errors.As(err, &missing) || !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "CSRF_SECRET_KEY_FILE") {
		t.Fatalf("nothing set: %v", err)
	}
	expect := func(value, origin string) {
		t.Helper()
		found, err := f.Find("CSRF_SECRET_KEY")
		if err != nil {
			t.Fatal(err)
		}
		if string(found.Value.Reveal()) != value || !strings.Contains(found.Origin, origin) {
			t.Errorf("found %q from %q, want %q from %q", found.Value.Reveal(), found.Origin, value, origin)
		}
	}
	write(t, filepath.Join(dir, "csrf-secret-key"), "dashed\n")
	expect("dashed", "csrf-secret-key")
	write(t, filepath.Join(dir, "csrf_secret_key"), "under\n\n")
	expect("under\n", "csrf_secret_key") // one trailing newline is dropped, not two
	env["CSRF_SECRET_KEY"] = "from env"
	expect("from env", "environment")
	env["CSRF_SECRET_KEY_FILE"] = write(t, filepath.Join(t.TempDir(), "x"), "from file\r\n")
	expect("from file", "file ")
}

func TestFindAlias(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "oidc-client-secret"), "legacy")
	found, err := finder(dir, nil).Find("AUTH_CLIENT_SECRET")
	if err != nil || string(found.Value.Reveal()) != "legacy" {
		t.Errorf("found %v, %v", found.Origin, err)
	}
}

// What is set must work: no falling back to another place in silence.
func TestFindRefusesWhatItCantUse(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"missing": filepath.Join(dir, "nope"),
		"folder":  dir,
		"empty":   write(t, filepath.Join(dir, "empty"), "\n"),
		"large":   write(t, filepath.Join(dir, "large"), strings.Repeat("x", MaxFileBytes+1)),
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"STATE_TOKEN_KEY_FILE": path, "STATE_TOKEN_KEY": hidden}
			_, err := finder(dir, env).Find("STATE_TOKEN_KEY")
			if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), path) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

package fleet_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
)

const kekJSON = `{"format":1,"turn":7,"added":[1],"ring":{"format":1,"name":"key-encryption-key","added":2,"versions":[{"id":"a","state":"active","value":"MQ=="}]},` +
	`"unseal":[{"id":"s1","value":"MQ==","turn":1},{"id":"gone","turn":2}]}`

func TestAKeyEncryptionKeyThatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ old, new, says string }{
		"newer":            {`{"format":1,"turn"`, `{"format":2,"turn"`, "newer release"},
		"no ring":          {`"ring"`, `"wring"`, "ring"},
		"another ring":     {`"name":"key-encryption-key"`, `"name":"csrf-key"`, "found csrf-key"},
		"a wrong value":    {`"id":"s1","value":"MQ=="`, `"id":"s1","value":"hush!"`, "unseal[0]: value"},
		"a wrong turn":     {`"turn":7`, `"turn":-1`, "turn"},
		"null":             {kekJSON, "null", "expected an object"},
		"nothing is right": {kekJSON, `{"format":1}`, "ring"},
	} {
		_, err := fleet.ParseKEKDocument([]byte(strings.Replace(kekJSON, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What was read is written so that the same is read again.
func FuzzParseKEKDocument(f *testing.F) {
	f.Add([]byte(kekJSON))
	f.Add([]byte(`{"format":1,"ring":{"format":1,"name":"key-encryption-key","versions":[{"id":"a","state":"active","value":"MQ=="}]},"unseal":[null,{"id":"\u0000"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		d, err := fleet.ParseKEKDocument(content)
		if err != nil {
			return
		}
		written, err := fleet.EncodeKEKDocument(d)
		if err != nil {
			return // a date that JSON can't have
		}
		again, err := fleet.ParseKEKDocument(written)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, content, written)
		}
		if twice, err := fleet.EncodeKEKDocument(again); err != nil || !bytes.Equal(written, twice) {
			t.Errorf("%v\n%s\n%s", err, written, twice)
		}
	})
}

// Whatever is in the store, it does not panic, does not open for who lacks the
// value, and does not open once it was changed.
func FuzzParseWrapped(f *testing.F) {
	link := fleettest.NewMemory().Link()
	openVault(f, link, "s1", "s2")
	genuine, _, err := link.Get(f.Context(), fleet.KeyEncryptionKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"format":1,"wraps":[{"id":"s1","key":"AQJzMQ=="},{"id":""},{"id":"s1"}],"sealed":"AQA="}`))
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-10])
	f.Fuzz(func(t *testing.T, content []byte) {
		w, err := fleet.ParseWrapped(content)
		if err != nil {
			return
		}
		if err := fleet.OpenWrapped(w, unsealKey("nobody's")); err == nil {
			t.Error("opened by who has no value")
		}
		if fleet.OpenWrapped(w, unsealKey("s1")) != nil {
			return
		}
		w.Sealed[len(w.Sealed)/2] ^= 1
		if fleet.OpenWrapped(w, unsealKey("s1")) == nil {
			t.Error("what was changed is opened")
		}
	})
}

// A salt that goes on changing is dismissed again and again. What is written of that
// stays readable, and two who remember it don't write in turns.
func TestDismissedUnsealKeysAreForgotten(t *testing.T) {
	link := fleettest.NewMemory().Link()
	v := openVault(t, link, "s0")
	witness := openVault(t, link, "s0")
	for i := range 200 {
		now, next := fmt.Sprint("s", i), fmt.Sprint("s", i+1)
		if err := v.Admit(t.Context(), unsealKey(next)); err != nil {
			t.Fatalf("%s: %v", next, err)
		}
		if err := witness.Restore(t.Context()); err != nil { // it learns of the next
			t.Fatal(err)
		}
		if err := v.Dismiss(t.Context(), unsealKey(now).ID); err != nil {
			t.Fatalf("%s: %v", now, err)
		}
	}
	_, was, err := link.Get(t.Context(), fleet.KeyEncryptionKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []*fleet.Vault{witness, v, witness, v} {
		if err := one.Restore(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, is, err := link.Get(t.Context(), fleet.KeyEncryptionKey); err != nil || is != was {
		t.Errorf("written again, although nothing had changed (%v)", err)
	}
	if _, err := fleet.OpenVault(t.Context(), fleet.VaultOptions{Board: link, Unseal: []fleet.UnsealKey{unsealKey("s200")}}); err != nil {
		t.Errorf("a replica that starts: %v", err)
	}
}

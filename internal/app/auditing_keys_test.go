package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/audit"
	"keyway/internal/keyring"
	"keyway/internal/secret"
)

func TestKeysOfEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		version := func(id string, state keyring.State) keyring.Version {
			v := keyring.Version{ID: id, State: state, CreatedAt: time.Now()}
			if state.Live() {
				v.Value = secret.NewValue([]byte("value of " + id))
			}
			return v
		}
		ring := func(versions ...keyring.Version) keyring.Ring {
			r, err := keyring.New(nameSigningKey, versions...)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		now, vault, loads := ring(version("a", keyring.Active)), keyring.Ring{}, 0
		k := &entryKeys{ring: func() keyring.Ring { return now }, load: func(context.Context) (keyring.Ring, error) {
			if loads++; vault.IsZero() {
				return vault, errors.New("away")
			}
			return vault, nil
		}}
		has := func(id string) bool { _, ok := k.Key(t.Context(), id); return ok }
		id, first, err := k.Active()
		if err != nil || id != "a" || first.Len() != 32 || strings.Contains(string(first.Reveal()), "value") {
			t.Fatalf("%s, %v", id, err)
		}
		for range 5 {
			if has("b") {
				t.Error("a key of a version that is not there")
			}
		}
		if loads != 5 { // which was away
			t.Errorf("the store was asked %d times", loads)
		}
		vault = now
		for range 5 {
			has("b")
		}
		if loads != 6 {
			t.Errorf("the store was asked %d times", loads)
		}
		// Others are ahead of this replica.
		vault = ring(version("b", keyring.Active), version("a", keyring.Retiring))
		time.Sleep(2 * time.Second)
		if !has("b") || !has("a") {
			t.Error("what the fleet has is not known")
		}
		now = ring(version("b", keyring.Active), version("a", keyring.Retired))
		vault = now
		if id, second, _ := k.Active(); id != "b" || second.Equal(first) {
			t.Errorf("%s", id)
		}
		if !has("a") {
			t.Error("what was written just now is not known")
		}
		time.Sleep(2 * time.Minute)
		if has("a") || !has("b") {
			t.Error("a version that has ended is good for ever")
		}
	})
}

// Who can write to the store and has no key gets nothing into the record.
func TestAForgedEntryIsToldOf(t *testing.T) {
	a, err := opened(t, env(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.recorder.Append(t.Context(), audit.Event{ID: "one", Type: audit.TypeTrouble}); err != nil {
		t.Fatal(err)
	}
	p, err := a.recorder.Tail(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	e, err := audit.Parse([]byte(p.Lines[0]))
	if err != nil || !strings.HasPrefix(e.MAC, a.current.Load().rings[nameSigningKey].Active().ID+".") {
		t.Errorf("%v, %+v", err, e)
	}
	forged, err := audit.Encode(p.Head, audit.Event{ID: "two", At: time.Now(), Type: "rotation.activated", Secret: nameCSRFKey})
	if err != nil {
		t.Fatal(err)
	}
	log, err := a.auditLog()
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), p.Head, [][]byte{forged.Line}, audit.Head{Seq: forged.Seq, Hash: forged.Hash()}); err != nil {
		t.Fatal(err)
	}
	if err := a.recorder.Append(t.Context(), audit.Event{ID: "three", Type: audit.TypeTrouble}); err != nil {
		t.Fatal(err)
	}
	if p, err = a.recorder.Audit(t.Context(), 3, 10); err != nil || len(p.Lines) != 2 || !strings.Contains(p.Lines[0], `"type":"audit.forged"`) {
		t.Errorf("%v, %s", err, strings.Join(p.Lines, "\n"))
	}
}

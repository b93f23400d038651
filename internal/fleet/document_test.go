package fleet_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/keyring"
)

// everything is a ring with a version in each state and each field set somewhere.
func everything(t testing.TB) keyring.Ring {
	t.Helper()
	at := func(h int) time.Time { return t0.Add(time.Duration(h)*time.Hour + 123456789) }
	return must[keyring.Ring](t)(keyring.New("client-secret/idp",
		keyring.Version{ID: "f", State: keyring.Pending, CreatedAt: at(9), TakesOver: true, HandedIn: true, Value: value("\x00\xff value f")},
		keyring.Version{ID: "e", State: keyring.Active, CreatedAt: at(5), ActivatedAt: at(6), Exposed: true, Value: value("value e")},
		keyring.Version{ID: "d", State: keyring.Retiring, CreatedAt: at(4), ActivatedAt: at(5), RetiresAt: at(6), Withdrawn: true, Value: value("value d")},
		keyring.Version{ID: "c", State: keyring.Rejected, CreatedAt: at(3)},
		keyring.Version{ID: "b", State: keyring.Retired, CreatedAt: at(2), ActivatedAt: at(3), RetiresAt: at(4), Compromised: true},
		keyring.Version{ID: "a", State: keyring.Retired},
	))
}

// plain is a ring that cmp can compare, values revealed.
func plain(ring keyring.Ring) []map[string]any {
	var all []map[string]any
	for v := range ring.All() {
		all = append(all, map[string]any{
			"id": v.ID, "state": v.State, "created": v.CreatedAt.UTC(), "activated": v.ActivatedAt.UTC(), "retires": v.RetiresAt.UTC(),
			"withdrawn": v.Withdrawn, "compromised": v.Compromised, "exposed": v.Exposed,
			"takes_over": v.TakesOver, "handed_in": v.HandedIn, "value": string(v.Value.Reveal()),
		})
	}
	return all
}

func TestADocumentKeepsEverything(t *testing.T) {
	ring := everything(t)
	content := must[[]byte](t)(fleet.RingDocument{Ring: ring}.Encode())
	d := must[fleet.RingDocument](t)(fleet.ParseRingDocument(content))
	if diff := cmp.Diff(plain(ring), plain(d.Ring)); diff != "" || d.Ring.Name() != ring.Name() {
		t.Error(diff)
	}
	again := must[[]byte](t)(d.Encode())
	if !bytes.Equal(content, again) {
		t.Errorf("encoded again:\n%s\n%s", content, again)
	}
}

func TestADocumentKeepsWhatANewerReleaseAdded(t *testing.T) {
	content := `{"format":1,"name":"k","owner":{"team":"a"},"versions":[{"id":"a","state":"active","value":"MQ==","hsm":[1,2]},{"id":"b","state":"pending","value":"Mg==","big":12345678901234567890}]}`
	d := must[fleet.RingDocument](t)(fleet.ParseRingDocument([]byte(content)))
	next := must[keyring.Ring](t)(d.Ring.Activate("b", t0))
	next = must[keyring.Ring](t)(next.Add(keyring.Candidate{ID: "c", Value: value("3")}, t0))
	var got map[string]any
	if err := json.Unmarshal(must[[]byte](t)(d.With(next).Encode()), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"team": "a"}, got["owner"]); diff != "" {
		t.Error(diff)
	}
	versions := got["versions"].([]any)
	for i, want := range []string{"c ", "a [1,2]", "b "} {
		v := versions[i].(map[string]any)
		hsm := ""
		if v["hsm"] != nil {
			hsm = string(must[[]byte](t)(json.Marshal(v["hsm"])))
		}
		if found := v["id"].(string) + " " + hsm; found != want {
			t.Errorf("version %d: %q, want %q", i, found, want)
		}
	}
	if !strings.Contains(string(must[[]byte](t)(d.Encode())), "12345678901234567890") {
		t.Error("a number was rounded")
	}
}

func TestADocumentThatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ content, says string }{
		"empty":             {"", "expected an object"},
		"torn":              {`{"format":1,"name":"k","ver`, "malformed"},
		"null":              {"null", "expected an object"},
		"newer":             {`{"format":2}`, "newer release"},
		"no format":         {`{"name":"k","versions":[{"id":"a","state":"active","value":"MQ=="}]}`, "found 0"},
		"no versions":       {`{"format":1,"name":"k"}`, "no version is active"},
		"no value":          {`{"format":1,"name":"k","versions":[{"id":"a","state":"active"}]}`, "has no value"},
		"two active":        {`{"format":1,"name":"k","versions":[{"id":"a","state":"active","value":"MQ=="},{"id":"b","state":"active","value":"MQ=="}]}`, "both active"},
		"strange state":     {`{"format":1,"name":"k","versions":[{"id":"a","state":"alive","value":"MQ=="}]}`, "unknown state"},
		"dead, yet kept":    {`{"format":1,"name":"k","versions":[{"id":"a","state":"active","value":"MQ=="},{"id":"b","state":"retired","value":"MQ=="}]}`, "still has a value"},
		"a wrong type":      {`{"format":1,"name":"k","versions":[{"id":"a","state":"active","value":"hush!"}]}`, "versions[0]: value"},
		"dead, yet exposed": {`{"format":1,"name":"k","versions":[{"id":"a","state":"active","value":"MQ=="},{"id":"b","state":"retired","exposed":true}]}`, "is exposed, and is retired"},
		"exposed, or not":   {`{"format":1,"name":"k","versions":[{"id":"a","state":"active","value":"MQ==","exposed":"hush!"}]}`, "versions[0]: exposed"},
		"a wrong date":      {`{"format":1,"name":"k","versions":[{"id":"a","state":"active","created_at":"hush!"}]}`, "versions[0]: created_at"},
	} {
		d, err := fleet.ParseRingDocument([]byte(c.content))
		if err == nil || !strings.Contains(err.Error(), c.says) || !d.Ring.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error tells what was in it: %v", name, err)
		}
	}
}

// Nothing is written that can't be read again: a ring would be lost.
func TestADocumentThatNobodyCouldReadIsNotWritten(t *testing.T) {
	versions := []keyring.Version{{ID: "a", State: keyring.Active, Value: value("a")}}
	for n := range 10_000 {
		versions = append(versions, keyring.Version{ID: fmt.Sprint("v", n), State: keyring.Retired})
	}
	ring := func(name string, n int) keyring.Ring {
		return must[keyring.Ring](t)(keyring.New(name, versions[:n]...))
	}
	far := must[keyring.Ring](t)(keyring.New("k", keyring.Version{ID: "a", State: keyring.Active, CreatedAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), Value: value("a")}))
	for name, c := range map[string]struct {
		ring keyring.Ring
		says string // empty: it is written
	}{
		"as many as can be":  {ring("k", 10_000), ""},
		"one too many":       {ring("k", 10_001), "at most 10000 versions, found 10001"},
		"none":               {keyring.Ring{}, "an empty ring"},
		"a name of bytes":    {ring("\xff", 1), "in UTF-8"},
		"in the year 10,000": {far, "a date is out of range"},
	} {
		content, err := fleet.RingDocument{Ring: c.ring}.Encode()
		if c.says == "" {
			if _, perr := fleet.ParseRingDocument(content); err != nil || perr != nil {
				t.Errorf("%s: %v, %v", name, err, perr)
			}
			continue
		}
		var refused *fleet.DocumentError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a ring has forgotten may be missing in the one that comes after it, and no
// more than that.
func TestAVaultForgets(t *testing.T) {
	v := openVault(t, fleettest.NewMemory().Link(), "s1")
	for _, name := range []string{fleet.KeyEncryptionKey, "k"} {
		for n := range 4 * keyring.MaxEnded {
			at, c := time.Now(), fleet.NewKeyEncryptionKey()
			_, err := v.Update(t.Context(), name, func(r keyring.Ring) (keyring.Ring, error) {
				if r.IsZero() {
					return keyring.New(name, keyring.Version{ID: c.ID, State: keyring.Active, CreatedAt: at, Value: c.Value})
				}
				next, err := r.Add(c, at)
				if err == nil && n%2 == 0 {
					return next.Compromise(c.ID, at)
				} else if err == nil {
					next, err = next.Activate(c.ID, at)
				}
				if previous, ok := next.Previous(); ok {
					return next.Retire(previous.ID)
				}
				return next, err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		ring, revision, err := v.Load(t.Context(), name)
		if n := len(slices.Collect(ring.All())); err != nil || n > 2*keyring.MaxEnded+2 {
			t.Errorf("%s: %d versions, %v", name, n, err)
		}
		if err := v.Restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, again, _ := v.Load(t.Context(), name); again != revision {
			t.Errorf("%s: it is written again and again", name)
		}
		_, err = v.Update(t.Context(), name, func(r keyring.Ring) (keyring.Ring, error) {
			all := slices.Collect(r.All())
			return keyring.New(name, all[:len(all)-1]...)
		})
		var refused *fleet.SuccessionError
		if !errors.As(err, &refused) {
			t.Errorf("%s: forgotten too soon: %v", name, err)
		}
	}
}

// What was read is written so that the same is read again.
func FuzzParseRingDocument(f *testing.F) {
	f.Add(must[[]byte](f)(fleet.RingDocument{Ring: everything(f)}.Encode()))
	f.Add([]byte(`{"format":1,"name":"k","x":null,"versions":[{"id":"a","state":"active","value":"MQ==","x":[]}]}`))
	f.Add([]byte(`{"format":1,"name":"\u0000","versions":[null,{"id":"a","state":"active","value":"MQ==","created_at":"0000-01-01T00:00:00+23:59"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		d, err := fleet.ParseRingDocument(content)
		if err != nil {
			return
		}
		written, err := d.Encode()
		if err != nil {
			return // a date that JSON can't have
		}
		again, err := fleet.ParseRingDocument(written)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, content, written)
		}
		if diff := cmp.Diff(plain(d.Ring), plain(again.Ring)); diff != "" {
			t.Error(diff)
		}
		if twice, err := again.Encode(); err != nil || !bytes.Equal(written, twice) {
			t.Errorf("%v\n%s\n%s", err, written, twice)
		}
	})
}

package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func event(n int) Event {
	return Event{
		ID: fmt.Sprintf("r1/%d", n), At: began.Add(time.Duration(n) * time.Minute), Type: TypeRotation + "held", Actor: "schedule", Replica: "b7",
		Secret: "session-key", Rotation: "r1", From: "v1", To: "v2", Detail: "by every <live> replica", Data: json.RawMessage(`{"n":1}`),
	}
}

// chained is n entries after another one, and the head.
func chained(t testing.TB, after Head, n int) ([][]byte, Head) {
	t.Helper()
	var lines [][]byte
	for range n {
		e, err := Encode(after, event(int(after.Seq)+1))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, e.Line)
		after = Head{Seq: e.Seq, Hash: e.Hash()}
	}
	return lines, after
}

// key is a signing key and its key set.
type key struct {
	signer *jwks.Signer
	set    []byte
}

func newKey(t testing.TB) key {
	t.Helper()
	id, value, err := keystore.NewSigningKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New("signing-key", keyring.Version{ID: id, State: keyring.Active, Value: value})
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwks.Document(ring)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jwks.NewVersionSigner(ring.Active())
	if err != nil {
		t.Fatal(err)
	}
	return key{signer, set}
}

func (k key) sign(t testing.TB, h Head) Head {
	t.Helper()
	signature, err := k.signer.Sign(claimsOf(h, began), HeadType, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Signature = signature
	return h
}

func clone(lines [][]byte) [][]byte {
	var all [][]byte
	for _, line := range lines {
		all = append(all, bytes.Clone(line))
	}
	return all
}

package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"keyway/internal/audit/audittest"
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

// key signs heads.
type key struct{ audittest.Key }

func newKey(t testing.TB) key { return key{audittest.NewKey(t)} }

func (k key) sign(t testing.TB, h Head) Head {
	t.Helper()
	signature, err := k.Sign(claimsOf(h, began), HeadType, nil)
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

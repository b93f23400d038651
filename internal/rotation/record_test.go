package rotation

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecordAsJSON(t *testing.T) {
	at := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	done := Rotation{
		ID: "r1", Secret: "session-key", From: "a", To: "b", AskedBy: "ada", StartedAt: at, EndedAt: at.Add(1500 * time.Millisecond),
		Outcome: OutcomeActive, Steps: []Step{{At: at, What: "made", Detail: "by Keyway"}},
	}
	const want = `{"id":"r1","secret":"session-key","from":"a","to":"b","asked_by":"ada","started_at":"2026-05-01T10:00:00Z",` +
		`"ended_at":"2026-05-01T10:00:01.5Z","outcome":"active","steps":[{"at":"2026-05-01T10:00:00Z","what":"made","detail":"by Keyway"}],"took_ms":1500}`
	got, err := json.Marshal(done)
	if err != nil || string(got) != want {
		t.Errorf("expected\n%s\nfound (%v)\n%s", want, err, got)
	}
	var back Rotation
	if err := json.Unmarshal(got, &back); err != nil || !cmp.Equal(done, back) {
		t.Errorf("read back (%v): %s", err, cmp.Diff(done, back))
	}

	got, err = json.Marshal([]*Rotation{{ID: "r2", Secret: "csrf-key", StartedAt: at}})
	if want := `[{"id":"r2","secret":"csrf-key","started_at":"2026-05-01T10:00:00Z","outcome":"","steps":[],"took_ms":0}]`; err != nil || string(got) != want {
		t.Errorf("under way: expected\n%s\nfound (%v)\n%s", want, err, got)
	}
}

func TestTookIsNeverNegative(t *testing.T) {
	at := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	if ms := (Rotation{StartedAt: at, EndedAt: at.Add(-time.Second)}).TookMS(); ms != 0 {
		t.Errorf("a clock that was set back: %d ms", ms)
	}
}

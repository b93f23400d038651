package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/admin"
	"keyway/internal/audit"
	"keyway/internal/audit/audittest"
)

// fakeRecord is a chain of n entries, one an hour.
type fakeRecord struct {
	lines []string
	head  audit.Head
	first uint64
	most  int // of one answer; 0: as asked for
}

func newFakeRecord(n int) *fakeRecord {
	f := &fakeRecord{first: 1}
	for i := range n {
		e, err := audit.Encode(f.head, audit.Event{
			ID: fmt.Sprintf("r1/%d", i), At: time.Date(2026, 3, 1, i, 0, 0, 0, time.UTC), Type: "rotation.held", Actor: "schedule",
			Secret: "session-key", Rotation: "r1", From: "7Kq2", To: "Zk81",
		})
		if err != nil {
			panic(err) // an event that is always good
		}
		f.lines = append(f.lines, string(e.Line))
		f.head = audit.Head{Seq: e.Seq, Hash: e.Hash()}
	}
	return f
}

func (f *fakeRecord) Audit(_ context.Context, from uint64, most int) (audit.Page, error) {
	if f.most > 0 {
		most = f.most
	}
	at := min(max(from, f.first)-f.first, uint64(len(f.lines)))
	lines := f.lines[at:]
	return audit.Page{First: f.first + at, Lines: lines[:min(most, len(lines))], Head: f.head}, nil
}

func recordAt(t *testing.T, f *fakeRecord) string {
	t.Helper()
	server := httptest.NewServer(admin.New(admin.Options{Control: newFakeControl(), Auditor: f, Loopback: true}))
	t.Cleanup(server.Close)
	return server.URL
}

// A chain that is longer than one answer is read whole, and what is missing in the
// live one shows.
func TestAuditCheckReadsTheWholeChain(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fakeRecord)
		code   int
		want   string
	}{
		"whole":       {func(*fakeRecord) {}, exitOK, "23, from 1 to 23"},
		"small pages": {func(f *fakeRecord) { f.most = 2 }, exitOK, "23, from 1 to 23"},
		"the beginning is missing": {func(f *fakeRecord) { f.lines, f.first = f.lines[3:], 4 }, exitNotSo,
			"✗ entries 1 to 3 are missing at the beginning"},
		"the end is missing":    {func(f *fakeRecord) { f.lines = f.lines[:20] }, exitNotSo, "✗ entries 21 to 23 are missing at the end"},
		"one is changed":        {func(f *fakeRecord) { f.lines[7] = strings.Replace(f.lines[7], "schedule", "nobody", 1) }, exitNotSo, "✗ entry 8 was changed"},
		"empty":                 {func(f *fakeRecord) { *f = *newFakeRecord(0) }, exitOK, "entries   none"},
		"a terminal is steered": {func(f *fakeRecord) { f.lines[7] = "\x1b[2J" }, exitNotSo, "✗ entry 8 can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeRecord(23)
			c.change(f)
			code, stdout, stderr := run(t.Context(), recordAt(t, f), "audit", "check")
			if code != c.code || !strings.Contains(stdout, c.want) || strings.Contains(stdout, "\x1b") {
				t.Errorf("%d\n%s%s", code, stdout, stderr)
			}
		})
	}
}

func TestAuditCheckHoldsTheHeadAgainstAKeySet(t *testing.T) {
	key := audittest.NewKey(t)
	f := newFakeRecord(3)
	signature, err := key.Sign(map[string]any{"seq": 3, "hash": f.head.Hash, "at": "2026-03-01T02:00:00Z"}, audit.HeadType, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.head.Signature = signature
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, key.Set, 0o600); err != nil {
		t.Fatal(err)
	}
	published := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/jwks.json" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(key.Set)
	}))
	t.Cleanup(published.Close)
	gateway := recordAt(t, f)
	for _, where := range []string{file, published.URL + "/.well-known/jwks.json"} {
		code, stdout, stderr := run(t.Context(), gateway, "audit", "check", "--jwks", where)
		if code != exitOK || !strings.Contains(stdout, "signed    2026-03-01T02:00:00Z, with the key "+key.KeyID()) {
			t.Errorf("%d\n%s%s", code, stdout, stderr)
		}
	}
	if code, _, stderr := run(t.Context(), gateway, "audit", "check", "--jwks", published.URL+"/nothing"); code != exitNotSo || !strings.Contains(stderr, "404") {
		t.Errorf("%d, %s", code, stderr)
	}
	for _, where := range []string{"ftp://127.0.0.1/", "http://user:password@127.0.0.1/", filepath.Join(t.TempDir(), "none")} {
		if code, _, stderr := run(t.Context(), gateway, "audit", "check", "--jwks", where); code != exitUsage || strings.Contains(stderr, "password") {
			t.Errorf("%s: %d, %s", where, code, stderr)
		}
	}
	// Another key set, and what is none, accuse nobody.
	wrong := filepath.Join(t.TempDir(), "wrong.json")
	if err := os.WriteFile(wrong, []byte(f.lines[0]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := run(t.Context(), gateway, "audit", "check", "--jwks", wrong); code != exitUsage || stdout != "" || !strings.Contains(stderr, "found an export of the record") {
		t.Errorf("%d\n%s%s", code, stdout, stderr)
	}
	others := strings.ReplaceAll(string(key.Set), key.KeyID(), "another")
	if err := os.WriteFile(wrong, []byte(others), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := run(t.Context(), gateway, "audit", "check", "--jwks", wrong); code != exitNotSo || !strings.Contains(stdout, key.KeyID()) || strings.Contains(stdout, "whoever") {
		t.Errorf("%d\n%s", code, stdout)
	}
	// Nor is one without a signature signed.
	signature = f.head.Signature
	f.head.Signature = ""
	if code, stdout, _ := run(t.Context(), gateway, "audit", "check", "--jwks", file); code != exitNotSo || !strings.Contains(stdout, "✗ the head is not signed") {
		t.Errorf("%d\n%s", code, stdout)
	}
	f.head.Signature = signature
	// Who wrote the chain anew does not have the key.
	f.head.Signature = f.head.Signature[:len(f.head.Signature)-4] + "AAAA"
	code, stdout, _ := run(t.Context(), gateway, "audit", "check", "--jwks", file, "--json")
	var report audit.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitNotSo ||
		!slices.ContainsFunc(report.Problems, func(p audit.Problem) bool { return p.Fault == audit.Forged }) {
		t.Errorf("%d, %v, %s", code, err, stdout)
	}
}

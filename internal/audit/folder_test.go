package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/audit"
	"keyway/internal/audit/logtest"
	"keyway/internal/durable/durabletest"
)

const childFolder = "AUDIT_TEST_FOLDER"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFolder); path != "" {
		fmt.Fprintln(os.Stderr, writeForEver(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openFolder(t testing.TB, path string) *audit.Folder {
	t.Helper()
	f, err := audit.OpenFolder(path, audit.FolderOptions{SegmentBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMemory(t *testing.T) {
	logtest.Run(t, func(*testing.T) audit.Log { return audit.NewMemory() })
}

func TestFolder(t *testing.T) {
	logtest.Run(t, func(t *testing.T) audit.Log { return openFolder(t, t.TempDir()+"/audit") })
}

// writeForEver is a process that is going to be killed: it records the same things
// that the one before has, as who reads them in a journal does.
func writeForEver(path string) error {
	log, err := audit.OpenFolder(path, audit.FolderOptions{SegmentBytes: 2000})
	if err != nil {
		return err
	}
	r, err := audit.New(audit.Options{Log: log})
	if err != nil {
		return err
	}
	ctx := context.Background()
	head, err := log.Head(ctx)
	if err != nil {
		return err
	}
	// Two of those that are there may be recorded again.
	for i := max(0, int(head.Seq)-2); ; i++ {
		event := func(n int) audit.Event {
			return audit.Event{ID: fmt.Sprint("e", n), Type: audit.TypeAsked, At: time.Unix(int64(n), 0), Detail: strings.Repeat("x", n%300)}
		}
		if err := r.Append(ctx, event(i), event(i+1)); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// A process that is killed at any moment leaves a chain without a gap, in which
// nothing is twice, and that the next one goes on with.
func TestAWriterThatIsKilled(t *testing.T) {
	path := t.TempDir() + "/audit"
	log := openFolder(t, path)
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	before := uint64(0)
	for round := range rounds {
		durabletest.Kill(t, childFolder+"="+path, time.Duration(round)*317*time.Microsecond) // any moment will do

		head := logtest.Head(t, log)
		_, lines := logtest.All(t, log)
		if r := audit.Check(lines, audit.CheckOptions{Head: &head, Whole: true}); !r.OK || head.Seq < before {
			t.Fatalf("round %d: %d entries before; %+v", round, before, r)
		}
		for i, line := range lines {
			if want := fmt.Sprintf(`"id":"e%d"`, i); !bytes.Contains(line, []byte(want)) {
				t.Fatalf("round %d: expected %s, found %s", round, want, line)
			}
		}
		before = head.Seq
	}
	if before < uint64(rounds) {
		t.Errorf("only %d entries were written", before)
	}
}

// What a process leaves that dies between any two steps of a write.
func TestAWriteThatFails(t *testing.T) {
	for _, step := range []string{"write chain", "sync chain", "write head"} {
		f := openFolder(t, t.TempDir()+"/audit")
		want := logtest.Add(t, f, 3)
		head := logtest.Head(t, f)
		f.FailWrites(func(at string) error {
			if strings.HasPrefix(at, step) {
				return syscall.ENOSPC
			}
			return nil
		})
		lines, next := logtest.Lines(t, head, 2)
		if err := f.Append(t.Context(), head, lines, next); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", step, err)
		}
		f.FailWrites(func(string) error { return nil })
		if step == "write head" { // it is there, and was not signed
			want, head = append(want, lines...), audit.Head{Seq: next.Seq, Hash: next.Hash}
		}
		if got := logtest.Head(t, f); got != head {
			t.Errorf("%s: head %+v, expected %+v", step, got, head)
		}
		want = append(want, logtest.Add(t, f, 1)...)
		if _, got := logtest.All(t, f); !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
			t.Errorf("%s: %d lines, expected %d", step, len(got), len(want))
		}
	}
}

// last is the newest file of lines.
func last(t *testing.T, path string) string {
	t.Helper()
	files, err := filepath.Glob(path + "/chain-*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files[len(files)-1]
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A line of which a part was written is removed, and never another.
func TestHalfALine(t *testing.T) {
	path := t.TempDir() + "/audit"
	f := openFolder(t, path)
	want := logtest.Add(t, f, 20)
	lines, _ := logtest.Lines(t, logtest.Head(t, f), 1)
	for cut := 1; cut <= len(lines[0]); cut += 17 {
		file := last(t, path)
		whole := read(t, file)
		write(t, file, append(bytes.Clone(whole), lines[0][:cut]...))
		if _, got := logtest.All(t, f); len(got) != 20 {
			t.Fatalf("cut at %d: %d lines", cut, len(got))
		}
		write(t, file, whole)
	}
	file := last(t, path)
	write(t, file, append(read(t, file), lines[0][:len(lines[0])-3]...))
	want = append(want, logtest.Add(t, f, 1)...)
	if _, got := logtest.All(t, f); !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
		t.Errorf("%d lines", len(got))
	}
	// In a file of its own.
	write(t, fmt.Sprintf("%s/chain-%020d.jsonl", path, 22), []byte(`{"seq":22,"pr`))
	want = append(want, logtest.Add(t, f, 1)...)
	if _, got := logtest.All(t, f); !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
		t.Errorf("%d lines", len(got))
	}
}

// What somebody takes away shows for ever, whatever is added then.
func TestWhatIsTakenAwayShows(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, path string, file []byte) []byte{
		"the last line": func(_ *testing.T, _ string, file []byte) []byte {
			return file[:bytes.LastIndexByte(file[:len(file)-1], '\n')+1]
		},
		"half of it":         func(_ *testing.T, _ string, file []byte) []byte { return file[:len(file)-40] },
		"its last two bytes": func(_ *testing.T, _ string, file []byte) []byte { return file[:len(file)-2] },
		"a whole file":       func(*testing.T, string, []byte) []byte { return nil },
		"the first line of the last file": func(_ *testing.T, _ string, file []byte) []byte {
			return file[bytes.IndexByte(file, '\n')+1:]
		},
		"a byte": func(_ *testing.T, _ string, file []byte) []byte {
			file[len(file)/2] ^= 1
			return file
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/audit"
			f := openFolder(t, path)
			logtest.Add(t, f, 24)
			before := logtest.Head(t, f)
			file := last(t, path)
			if left := take(t, path, read(t, file)); left == nil {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, file, left)
			}
			for range 3 {
				head := logtest.Head(t, f)
				_, lines := logtest.All(t, f)
				if r := audit.Check(lines, audit.CheckOptions{Head: &head, Whole: true}); r.OK || head.Seq < before.Seq {
					t.Errorf("head %d, was %d: %+v", head.Seq, before.Seq, r)
				}
				logtest.Add(t, f, 1)
			}
		})
	}
}

func TestFolderIsForItsOwnerOnly(t *testing.T) {
	path := t.TempDir() + "/audit"
	f := openFolder(t, path)
	logtest.Add(t, f, 1)
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 3 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
	if err := os.Chmod(last(t, path), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Head(t.Context()); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.OpenFolder(path, audit.FolderOptions{}); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Error(err)
	}
	// A volume that is not mounted looks like an empty folder.
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if head, err := f.Head(t.Context()); err == nil {
		t.Errorf("a folder that is gone has the head %+v", head)
	}
}

func TestFilesAreOfAnAgeAndASize(t *testing.T) {
	path := t.TempDir() + "/audit"
	f, err := audit.OpenFolder(path, audit.FolderOptions{SegmentAge: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for range 25 { // one a second
		logtest.Add(t, f, 1)
	}
	if files, _ := filepath.Glob(path + "/chain-*"); len(files) != 3 {
		t.Errorf("%v", files)
	}
	if to, err := f.Droppable(t.Context(), 20); to != 12 || err != nil {
		t.Errorf("%d, %v", to, err)
	}
}

package embedded_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyway/internal/session"
	"keyway/internal/session/embedded"
	"keyway/internal/session/sessiontest"
	"keyway/internal/session/storetest"
)

// writerDir makes the test binary a process that writes until it is killed.
const writerDir = "EMBEDDED_TEST_WRITER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		writeUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, dir string) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func folder(t testing.TB) string { return filepath.Join(t.TempDir(), "data") }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) session.Store { return open(t, folder(t)) })
}

func TestSessionsSurviveARestart(t *testing.T) {
	dir, ctx := folder(t), t.Context()
	k, short := storetest.NewKey(), storetest.NewKey()
	s := open(t, dir)
	it, err := s.Create(ctx, k, []byte("one"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, short, []byte("two"), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Acquire(ctx, "claim", "a", time.Hour); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := s.Join(ctx, k, []session.Key{{1}}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	if keys, err := s.Members(ctx, session.Key{1}); err != nil || len(keys) != 1 || keys[0] != k {
		t.Errorf("the group after the restart: %v, %v", keys, err)
	}
	if owner, held, err := s.Holder(ctx, "claim"); err != nil || !held || owner != "a" {
		t.Errorf("the lease after the restart: %q, %v, %v", owner, held, err)
	}
	got, err := s.Get(ctx, k)
	if err != nil || string(got.Data) != "one" || got.Revision != it.Revision || !got.Expires.Equal(it.Expires) {
		t.Errorf("after the restart: %q, %v, %v; want what was there before", got.Data, got.Expires, err)
	}
	storetest.Eventually(t, "what expired meanwhile is gone", func() bool {
		_, err := s.Get(ctx, short)
		return errors.Is(err, session.ErrNotFound)
	})
	if ok, err := s.Acquire(ctx, "claim", "b", time.Hour); err != nil || ok {
		t.Errorf("a one-time claim could be made again after a restart: %v, %v", ok, err)
	}
}

func writeUntilKilled(dir string) {
	s, err := embedded.Open(dir)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for {
		k := storetest.NewKey()
		if _, err := s.Create(context.Background(), k, k[:], time.Hour); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(k) // only now has anybody a right to find it
	}
}

func TestSessionsSurviveKill(t *testing.T) {
	dir := folder(t)
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), writerDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var keys []session.Key
		lines := bufio.NewScanner(out)
		for len(keys) < 20 && lines.Scan() {
			k, ok := session.ParseKey(lines.Text())
			if !ok {
				t.Fatalf("the writer said %q", lines.Text())
			}
			keys = append(keys, k)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if len(keys) < 20 {
			t.Fatalf("the writer ended after %d keys", len(keys))
		}
		s := open(t, dir)
		for _, k := range keys {
			if it, err := s.Get(t.Context(), k); err != nil || string(it.Data) != string(k[:]) {
				t.Fatalf("round %d: %s is lost: %v", round, hex.EncodeToString(k[:4]), err)
			}
		}
		if n, err := s.Count(t.Context()); err != nil || n < (round+1)*20 {
			t.Errorf("Count = %d, %v; want at least %d", n, err, (round+1)*20)
		}
		s.Close()
	}
}

func TestAFileInUseIsRefused(t *testing.T) {
	dir := folder(t)
	open(t, dir)
	_, err := embedded.Open(dir)
	if err == nil {
		t.Fatal("two have one file")
	}
	for _, want := range []string{filepath.Join(dir, embedded.FileName), "another process", "BFF_DATA_DIR", "REDIS_URL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestOnlyTheOwnerMayRead(t *testing.T) {
	dir := folder(t)
	s := open(t, dir)
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, embedded.FileName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %o", path, info.Mode().Perm(), err, want)
		}
	}
	s.Close()
	for path, mode := range map[string]os.FileMode{filepath.Join(dir, embedded.FileName): 0o640, dir: 0o755} {
		was, _ := os.Stat(path)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := embedded.Open(dir); err == nil || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("%s with mode %o: got %v, want a refusal that says what to do", path, mode, err)
		}
		os.Chmod(path, was.Mode().Perm())
	}
}

func TestAFileThatIsNoneOfOurs(t *testing.T) {
	dir := folder(t)
	os.MkdirAll(dir, 0o700)
	path := filepath.Join(dir, embedded.FileName)
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// A caller that gives up shares nothing any more with what is still carried out
// for it. The race detector is the judge.
func TestGivingUpDuringAWrite(t *testing.T) {
	s := open(t, folder(t))
	for i := range 20 {
		for _, op := range []func(context.Context) (bool, error){
			func(ctx context.Context) (bool, error) { return s.Acquire(ctx, fmt.Sprint("name ", i), "a", time.Hour) },
			func(ctx context.Context) (bool, error) { return s.Renew(ctx, fmt.Sprint("name ", i), "a", time.Hour) },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			if got, err := op(ctx); got && err != nil {
				t.Errorf("got it, and %v", err)
			}
			cancel()
		}
	}
}

func TestKeysTurnUnderManySessions(t *testing.T) { sessiontest.Rotation(t, open(t, folder(t))) }

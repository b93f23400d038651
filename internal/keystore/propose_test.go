package keystore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/threat"
)

func TestPropose(t *testing.T) {
	s, ring := withKey(t, Options{})
	active := ring.Active()
	due := active.ActivatedAt.Add(90 * 24 * time.Hour)
	expect := func(o ProposeOptions, made bool, to, why string) Proposal {
		t.Helper()
		p := must(s.Propose(o))(t)
		if p.Made != made || (to != "?" && p.To != to) || !strings.Contains(p.Why, why) {
			t.Errorf("got made %v, to %q, because %q", p.Made, p.To, p.Why)
		}
		if look(p.Ring) != look(signing(t, s)) {
			t.Errorf("the folder has %s, the answer %s", look(signing(t, s)), look(p.Ring))
		}
		checkFolder(t, s.Dir())
		return p
	}
	age := 90 * 24 * time.Hour
	expect(ProposeOptions{OlderThan: age, Now: due.Add(-time.Second)}, false, "", "due at "+due.Format(time.DateTime)+" UTC")
	t.Run("a clock that was set back", func(t *testing.T) {
		threat.Covers(t, 63)
		expect(ProposeOptions{OlderThan: age, Now: active.ActivatedAt.Add(-time.Hour)}, false, "", "not old enough")
	})
	expect(ProposeOptions{From: "another"}, false, active.ID, "another version is active")
	p := expect(ProposeOptions{From: active.ID, OlderThan: age, Now: due}, true, "?", "made")
	if v, err := p.Ring.Lookup(p.To); err != nil || v.State != keyring.Pending || !v.CreatedAt.Equal(due) || p.Ring.Active().ID != active.ID {
		t.Errorf("ring: %s, %v", look(p.Ring), err)
	}
	if key := must(s.readKey(p.To, ""))(t); key.Algorithm() != jwks.ES256 {
		t.Errorf("a key for %s", key.Algorithm())
	}
	expect(ProposeOptions{}, false, p.To, "pending already")
	expect(ProposeOptions{OlderThan: age, Now: due.Add(-time.Second)}, false, p.To, "pending already")
	mirror(t, s, must(p.Ring.Activate(p.To, due))(t))
	expect(ProposeOptions{From: active.ID}, false, p.To, "another version is active")
}

// A configuration that names another algorithm changes it by rotation.
func TestProposeAnotherAlgorithm(t *testing.T) {
	s, _ := withKey(t, Options{})
	for _, c := range []struct{ configured, want string }{{jwks.EdDSA, jwks.EdDSA}, {"", jwks.EdDSA}, {jwks.ES256, jwks.ES256}} {
		again := mustOpen(t, s.Dir(), Options{Algorithm: c.configured})
		p := must(again.Propose(ProposeOptions{}))(t)
		if key := must(again.readKey(p.To, ""))(t); key.Algorithm() != c.want {
			t.Errorf("configured %q: a key for %s, want %s", c.configured, key.Algorithm(), c.want)
		}
		mirror(t, s, must(p.Ring.Activate(p.To, noon))(t))
	}
	bad := mustOpen(t, s.Dir(), Options{Algorithm: "HS256"})
	if _, err := bad.Propose(ProposeOptions{}); err == nil {
		t.Error("HS256 was made")
	}
}

func TestProposeIntoNothing(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{})
	if _, err := s.Propose(ProposeOptions{}); !errors.Is(err, ErrNoKeys) {
		t.Errorf("got %v", err)
	}
}

// proposer is somebody who proposes in a folder when told.
type proposer func(dir, from string) (to string, made bool, err error)

func childProposer(t *testing.T) proposer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=propose -", "GORACE=atexit_sleep_ms=10", "GOMAXPROCS=1")
	in, out := must(cmd.StdinPipe())(t), must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	return func(dir, from string) (to string, made bool, err error) {
		if _, err := io.WriteString(in, dir+"\t"+from+"\n"); err != nil {
			return "", false, err
		}
		if !lines.Scan() {
			return "", false, errors.New("the process ended")
		}
		if _, err := fmt.Sscan(lines.Text(), &to, &made); err != nil {
			return "", false, errors.New(lines.Text())
		}
		return to, made, nil
	}
}

// Two processes and a goroutine propose at one instant, a thousand times.
func TestProposeTogether(t *testing.T) {
	threat.Covers(t, 55, 57)
	t.Parallel()
	const folders = 100 // short manifests: what is slow is reading long ones
	rounds := 10
	if testing.Short() {
		rounds = 1
	}
	root := fastDir(t)
	stores := make([]*Store, folders)
	rings := make([]keyring.Ring, folders)
	here := func(dir, from string) (string, bool, error) {
		n, _ := strconv.Atoi(filepath.Base(dir))
		p, err := stores[n].Propose(ProposeOptions{From: from})
		return p.To, p.Made, err
	}
	proposers := []proposer{childProposer(t), childProposer(t), here}
	seen := map[string]bool{}
	began := time.Now()
	for round := range folders * rounds {
		n := round % folders
		if stores[n] == nil {
			stores[n], _ = mustStart(t, filepath.Join(root, fmt.Sprint(n)), Options{})
			rings[n] = signing(t, stores[n])
		}
		s, ring := stores[n], rings[n]
		type answer struct {
			to   string
			made bool
			err  error
		}
		answers := make(chan answer)
		for _, propose := range proposers {
			go func() {
				var a answer
				a.to, a.made, a.err = propose(s.Dir(), ring.Active().ID)
				answers <- a
			}()
		}
		made, to := 0, ""
		for range proposers {
			a := <-answers
			if a.err != nil {
				t.Fatal(a.err)
			}
			if to == "" {
				to = a.to
			}
			if a.made {
				made++
			}
			if a.to != to {
				t.Fatalf("round %d: %s and %s", round, to, a.to)
			}
		}
		if made != 1 || seen[to] {
			t.Fatalf("round %d: %d were made; seen before: %v", round, made, seen[to])
		}
		seen[to] = true
		if key := must(s.readKey(to, ""))(t); key.ID() != to { // ID is the key's RFC 7638 thumbprint
			t.Fatalf("round %d: id %s for %s", round, to, key.ID())
		}
		old := ring.Active().ID
		ring = must(must(signing(t, s).Activate(to, time.Now()))(t).Retire(old))(t)
		if err := s.Mirror(ring); err != nil {
			t.Fatal(err)
		}
		rings[n] = ring
	}
	for _, s := range stores {
		checkFolder(t, s.Dir())
	}
	t.Logf("%d rounds in %v", folders*rounds, time.Since(began))
}

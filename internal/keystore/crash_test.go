package keystore

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/threat"
)

// job is something that changes a folder, and how many steps it has.
type job struct {
	prepare func(t *testing.T, s *Store) keyring.Ring // what do gets
	do      func(s *Store, ring keyring.Ring) error
	writes  int // and removals
}

func jobs() map[string]job {
	none := func(*testing.T, *Store) keyring.Ring { return keyring.Ring{} }
	proposed := func(t *testing.T, s *Store) keyring.Ring {
		must(s.FirstSigning())(t)
		return must(s.Propose(ProposeOptions{}))(t).Ring
	}
	activated := func(t *testing.T, s *Store) keyring.Ring {
		ring := proposed(t, s)
		pending, _ := ring.Pending()
		ring = must(ring.Activate(pending.ID, noon))(t)
		if err := s.Mirror(ring); err != nil {
			t.Fatal(err)
		}
		return ring
	}
	return map[string]job{
		"first key": {none, func(s *Store, _ keyring.Ring) error { _, err := s.FirstSigning(); return err }, 3},
		"propose": {
			func(t *testing.T, s *Store) keyring.Ring { return must(s.FirstSigning())(t) },
			func(s *Store, _ keyring.Ring) error { _, err := s.Propose(ProposeOptions{}); return err }, 3,
		},
		"mirror a pending key": {
			func(t *testing.T, s *Store) keyring.Ring {
				return must(must(s.FirstSigning())(t).Add(candidate(t, ""), noon))(t)
			},
			(*Store).Mirror, 3,
		},
		"mirror an activation": {
			func(t *testing.T, s *Store) keyring.Ring {
				ring := proposed(t, s)
				pending, _ := ring.Pending()
				return must(ring.Activate(pending.ID, noon))(t)
			},
			(*Store).Mirror, 2,
		},
		"mirror a rollback": {
			func(t *testing.T, s *Store) keyring.Ring { return must(activated(t, s).RollBack(noon))(t) },
			(*Store).Mirror, 2,
		},
		"mirror a retirement": {
			func(t *testing.T, s *Store) keyring.Ring {
				ring := activated(t, s)
				previous, _ := ring.Previous()
				return must(ring.Retire(previous.ID))(t)
			},
			(*Store).Mirror, 3, // the manifest, jwks.json, and the key goes
		},
		"mirror a compromise": {
			func(t *testing.T, s *Store) keyring.Ring {
				next := candidate(t, "")
				return must(must(activated(t, s).Add(next, noon))(t).Compromise(next.ID, noon))(t)
			},
			(*Store).Mirror, 6, // a key, jwks.json, the manifest, jwks.json, and two keys go
		},
		"first root key": {none, func(s *Store, _ keyring.Ring) error { _, err := s.RootKeys(); return err }, 1},
		"turn the root key": {
			func(t *testing.T, s *Store) keyring.Ring { must(s.RootKeys())(t); return keyring.Ring{} },
			func(s *Store, _ keyring.Ring) error { _, err := s.TurnRoot(); return err }, 1,
		},
		"drop a root key": {
			func(t *testing.T, s *Store) keyring.Ring {
				must(s.RootKeys())(t)
				must(s.TurnRoot())(t)
				return keyring.Ring{}
			},
			func(s *Store, _ keyring.Ring) error {
				keys, err := s.RootKeys()
				if err != nil || len(keys) < 2 {
					return err
				}
				return s.DropRoot(keys[1].ID)
			}, 1,
		},
	}
}

// A process that dies, or meets a full or failing disk, before or after anything
// that it changes: what is there afterwards is the old or the new, and can be
// gone on with.
func TestCrashAtEachStep(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(jobs())) {
		j := jobs()[name]
		for _, fault := range []error{errCrash, syscall.ENOSPC, syscall.EIO} {
			for at := range 3 * j.writes {
				t.Run(fmt.Sprintf("%s, %v, step %d", name, fault, at), func(t *testing.T) {
					threat.Covers(t, 58)
					crashAt(t, j, fault, at)
				})
			}
		}
	}
}

func crashAt(t *testing.T, j job, fault error, at int) {
	dir := filepath.Join(fastDir(t), "keys")
	steps, armed := 0, false
	s := mustOpen(t, dir, Options{step: func(string) error {
		if !armed {
			return nil
		}
		if steps++; steps > at {
			return fault
		}
		return nil
	}})
	target := j.prepare(t, s)
	before, rootsBefore := signing(t, s), rootCount(t, dir)
	armed = true
	if err := j.do(s, target); !errors.Is(err, fault) {
		t.Fatalf("got %v", err)
	}
	write(t, dir, ".signing-x.pem12345", "half a k") // what a killed process leaves beside whole files
	checkFolder(t, dir)

	again := mustOpen(t, dir, Options{})
	now := signing(t, again)
	isOld := look(now) == look(before)
	isNew := !target.IsZero() && look(now) == look(target)
	if target.IsZero() || look(target) == look(before) { // the job itself chose what is new
		pending, proposed := now.Pending()
		isNew = before.IsZero() && !now.IsZero() && look(now) == now.Active().ID+":active" ||
			proposed && look(now) == pending.ID+":pending "+look(before)
	}
	if !isOld && !isNew {
		t.Errorf("neither old nor new:\nold %s\nnow %s\nnew %s", look(before), look(now), look(target))
	}
	if roots := rootCount(t, dir); roots < rootsBefore-1 || roots > rootsBefore+1 || rootsBefore > 0 && roots == 0 {
		t.Errorf("%d root keys became %d", rootsBefore, roots)
	}
	if err := j.do(again, target); err != nil {
		t.Fatalf("done again: %v", err)
	}
	checkFolder(t, dir)
	for _, notice := range again.Notices() {
		// What may be said is what an interrupted write leaves: a key file without a
		// version, or one whose version has ended.
		if !strings.Contains(notice, "signing-") {
			t.Errorf("notice: %s", notice)
		}
	}
	if left := must(filepath.Glob(filepath.Join(dir, ".signing-*")))(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if !target.IsZero() && look(target) != look(before) {
		if got := look(signing(t, again)); got != look(target) {
			t.Errorf("done again: %s", got)
		}
		for v := range target.All() {
			_, err := os.Stat(filepath.Join(dir, pemFile(v.ID)))
			if v.State.Live() != (err == nil) {
				t.Errorf("%s is %s, its key: %v", v.ID, v.State, err)
			}
		}
	}
}

func rootCount(t *testing.T, dir string) int {
	return len(must(filepath.Glob(filepath.Join(dir, "root-*.key")))(t))
}

// Somebody polls jwks.json through every phase of many rotations.
func TestPublishedThroughAllPhases(t *testing.T) {
	threat.Covers(t, 54, 56)
	s, _ := withKey(t, Options{})
	done := make(chan struct{})
	var failed error
	go func() {
		defer close(done)
		failed = func() error {
			for i := range 40 {
				if err := everyPhase(s, i); err != nil {
					return fmt.Errorf("round %d: %w", i, err)
				}
			}
			return nil
		}()
	}()
	polls := 0
	for running := true; running; polls++ {
		select {
		case <-done:
			running = false
		default:
		}
		// What lived before and after the reading of jwks.json, lived in between.
		before := must(readLive(s.Dir()))(t)
		public := must(readPublic(s.Dir()))(t)
		after := must(readLive(s.Dir()))(t)
		for id, state := range before {
			if after[id] != "" && !slices.Contains(public, id) {
				t.Fatalf("%s was %s, then %s, and was not published: %v", id, state, after[id], public)
			}
		}
	}
	if failed != nil {
		t.Fatal(failed)
	}
	checkFolder(t, s.Dir())
	t.Logf("%d polls", polls)
}

// everyPhase takes a signing key through a rotation, and on.
func everyPhase(s *Store, i int) error {
	p, err := s.Propose(ProposeOptions{})
	if err != nil {
		return err
	}
	ring := p.Ring
	moves := []func() (keyring.Ring, error){
		func() (keyring.Ring, error) { return ring.Activate(p.To, time.Now()) },
	}
	switch i % 4 {
	case 1:
		moves[0] = func() (keyring.Ring, error) { return ring.Reject(p.To) }
	case 2:
		moves = append(moves, func() (keyring.Ring, error) { return ring.RollBack(time.Now()) })
	case 3:
		moves[0] = func() (keyring.Ring, error) { return ring.Compromise(p.To, time.Now()) }
	}
	for v := range ring.All() {
		if v.State == keyring.Retiring && i%4 != 3 {
			moves = append(moves, func() (keyring.Ring, error) { return ring.Retire(v.ID) })
		}
	}
	for _, move := range moves {
		if ring, err = move(); err != nil {
			return err
		}
		if err := s.Mirror(ring); err != nil {
			return err
		}
		if got, err := s.Signing(); err != nil || look(got) != look(ring) {
			return fmt.Errorf("read %s for %s, %w", look(got), look(ring), err)
		}
	}
	return nil
}

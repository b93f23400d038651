package keystore

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/keyring"
)

// childVariable makes the test's own program a second process: "ROLE FOLDER".
const childVariable = "KEYSTORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if role, dir, child := strings.Cut(os.Getenv(childVariable), " "); child {
		if err := children[role](dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var children = map[string]func(dir string) error{
	// open says which keys it got.
	"open": func(dir string) error {
		s, ring, err := start(dir, Options{})
		if err != nil {
			return err
		}
		roots, err := s.RootKeys()
		if err != nil {
			return err
		}
		fmt.Println(ring.Active().ID, roots[0].ID)
		return nil
	},
	// propose does so whenever it is told a folder and an active version.
	"propose": func(string) error {
		stores := map[string]*Store{}
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			dir, from, _ := strings.Cut(lines.Text(), "\t")
			if stores[dir] == nil {
				s, err := Open(dir, Options{})
				if err != nil {
					return err
				}
				stores[dir] = s
			}
			p, err := stores[dir].Propose(ProposeOptions{From: from})
			if err != nil {
				return err
			}
			fmt.Println(p.To, p.Made)
		}
		return nil
	},
	// rotate does so until it is killed.
	"rotate": func(dir string) error {
		s, _, err := start(dir, Options{})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		for {
			if err := rotateOnce(s); err != nil {
				return err
			}
		}
	},
	// walk does everything once, on one thread, so that faults can be counted.
	"walk": func(dir string) error {
		runtime.LockOSThread()
		s, _, err := start(dir, Options{})
		if err != nil {
			return err
		}
		if err := rotateOnce(s); err != nil {
			return err
		}
		if _, err := s.RootKeys(); err != nil {
			return err
		}
		key, err := s.TurnRoot()
		if err != nil {
			return err
		}
		return s.DropRoot(key.ID)
	},
}

// start opens a folder as the gateway does that is to sign: with a key in it.
func start(dir string, o Options) (*Store, keyring.Ring, error) {
	s, err := Open(dir, o)
	if err != nil {
		return nil, keyring.Ring{}, err
	}
	ring, err := s.FirstSigning()
	return s, ring, err
}

// rotateOnce proposes, activates, and retires what was there before.
func rotateOnce(s *Store) error {
	p, err := s.Propose(ProposeOptions{})
	if err != nil {
		return err
	}
	ring, err := p.Ring.Activate(p.To, time.Now())
	if err != nil {
		return err
	}
	if err := s.Mirror(ring); err != nil {
		return err
	}
	for v := range ring.All() {
		if v.State == keyring.Retiring {
			if ring, err = ring.Retire(v.ID); err != nil {
				return err
			}
		}
	}
	return s.Mirror(ring)
}

// fastDir is a folder for tests that sync thousands of times.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "keyway-keystore-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// publicMembers are all that a key in jwks.json may have.
var publicMembers = []string{"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}

// readPublic reads jwks.json as another tool would, and returns the ids.
func readPublic(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, publicFile))
	if err != nil {
		return nil, err
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("jwks.json: %w: %q", err, text)
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("jwks.json is empty")
	}
	var ids []string
	for _, key := range set.Keys {
		for member := range key {
			if !slices.Contains(publicMembers, member) {
				return nil, fmt.Errorf("jwks.json has the member %s", member)
			}
		}
		ids = append(ids, key["kid"].(string))
	}
	return ids, nil
}

// readLive reads the manifest as another tool would: state by live version.
func readLive(dir string) (map[string]keyring.State, error) {
	text, err := os.ReadFile(filepath.Join(dir, signingManifest))
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, err
	}
	live := map[string]keyring.State{}
	for _, e := range m.Versions {
		if e.State.Live() {
			live[e.ID] = e.State
		}
	}
	return live, nil
}

// checkFolder looks at a folder that nobody is writing: what must always hold, be
// it after a crash.
func checkFolder(t testing.TB, dir string) {
	t.Helper()
	live, err := readLive(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return // the first key is not there yet
	}
	if err != nil {
		t.Fatal(err)
	}
	public, err := readPublic(dir)
	if err != nil {
		t.Fatal(err)
	}
	active := 0
	s := must(Open(dir, Options{}))(t)
	for id, state := range live {
		if !slices.Contains(public, id) {
			t.Errorf("%s is %s, and not in jwks.json", id, state)
		}
		if _, err := s.readKey(id, ""); err != nil {
			t.Errorf("%s is %s: %v", id, state, err)
		}
		if state == keyring.Active {
			active++
		}
	}
	if active != 1 {
		t.Errorf("%d active versions", active)
	}
	if _, err := s.Signing(); err != nil {
		t.Error(err)
	}
}

// look is a ring as "id:state id:state", newest first.
func look(r keyring.Ring) string {
	var parts []string
	for v := range r.All() {
		parts = append(parts, v.ID+":"+string(v.State))
	}
	return strings.Join(parts, " ")
}

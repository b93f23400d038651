package fleet_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/session/redis"
)

// propose makes a new version unless there is one already, as whoever is asked to
// rotate does, and returns the id of the one that there is then.
func propose(ctx context.Context, v *fleet.Vault, name string) (string, error) {
	ring, err := v.Update(ctx, name, func(now keyring.Ring) (keyring.Ring, error) {
		if _, ok := now.Pending(); ok {
			return now, fleet.ErrUnchanged
		}
		return now.Add(keyring.Candidate{ID: rand.Text(), Value: secret.NewValue([]byte(rand.Text()))}, time.Now())
	})
	if err != nil {
		return "", err
	}
	pending, _ := ring.Pending()
	return pending.ID, nil
}

// counting counts conflicts: without any, nobody raced.
type counting struct {
	fleet.Board
	conflicts *atomic.Int64
}

func (c counting) CompareAndSet(ctx context.Context, name string, revision fleet.Revision, value []byte) (fleet.Revision, error) {
	next, err := c.Board.CompareAndSet(ctx, name, revision, value)
	if errors.Is(err, fleet.ErrConflict) {
		c.conflicts.Add(1)
	}
	return next, err
}

// Two replicas and a sidecar rotate at the same instant, a thousand times: what
// threat 57 rests on.
func TestAThousandRacesMakeOneVersionEach(t *testing.T) {
	forms(t, func(t *testing.T, where string) {
		var conflicts atomic.Int64
		rounds, perRing := 1000, 20
		if testing.Short() {
			rounds = 100
		}
		replicas := make([]*fleet.Vault, 2)
		for i := range replicas {
			replicas[i] = openVault(t, counting{openBoard(t, where), &conflicts}, "s1")
		}
		sidecar := startChild(t, "propose", where)
		for round := range rounds {
			name := fmt.Sprintf("k%d", round/perRing)
			if round%perRing == 0 {
				putRing(t, replicas[0], ringOf(t, name, "first", "1"))
			}
			var made [3]string
			var group sync.WaitGroup
			for i, v := range replicas {
				group.Go(func() {
					id, err := propose(t.Context(), v, name)
					if err != nil {
						t.Error(err)
					}
					made[i] = id
				})
			}
			group.Go(func() { made[2] = sidecar.ask(name) })
			group.Wait()
			if made[0] == "" || made[0] != made[1] || made[1] != made[2] {
				t.Fatalf("round %d: three versions or none: %q", round, made)
			}
			must[keyring.Ring](t)(replicas[round%2].Update(t.Context(), name, func(now keyring.Ring) (keyring.Ring, error) {
				before := now.Active().ID
				next, err := now.Activate(made[0], time.Now())
				if err != nil {
					return next, err
				}
				return next.Retire(before)
			}))
			if (round+1)%perRing == 0 {
				ring, _, err := replicas[0].Load(t.Context(), name)
				n := 0
				for range ring.All() {
					n++
				}
				if n != 1+perRing || err != nil {
					t.Fatalf("%d versions after %d rotations, %v", n, perRing, err)
				}
			}
		}
		if conflicts.Load() == 0 {
			t.Error("nobody raced")
		}
		t.Logf("%d rotations, %d conflicts seen by two of three", rounds, conflicts.Load())
	})
}

// process is a replica that is a process of its own.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startChild(t *testing.T, task, where string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FLEET_TEST_CHILD="+task, "FLEET_TEST_WHERE="+where)
	cmd.Stderr = os.Stderr
	in := must[io.WriteCloser](t)(cmd.StdinPipe())
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(p.kill)
	return p
}

func (p *process) ask(question string) string {
	fmt.Fprintln(p.in, question) //nolint:errcheck // shows below
	return p.line()
}

func (p *process) line() string {
	if !p.out.Scan() {
		p.t.Error("the other process has ended")
		return ""
	}
	return p.out.Text()
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// childMain is the other process.
func childMain(task string) error {
	ctx := context.Background()
	kind, what, _ := strings.Cut(os.Getenv("FLEET_TEST_WHERE"), " ")
	var board fleet.Board
	if kind == "redis" {
		store, err := redis.Open(ctx, redis.Options{URL: secret.NewValue([]byte(what))})
		if err != nil {
			return err
		}
		defer store.Close() //nolint:errcheck // the process ends
		board = store.Board()
	} else {
		folder, err := fleet.OpenFolder(what)
		if err != nil {
			return err
		}
		board = folder
	}
	v, err := fleet.OpenVault(ctx, fleet.VaultOptions{Board: board, Unseal: []fleet.UnsealKey{unsealKey("s1")}})
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		id, err := propose(ctx, v, lines.Text())
		if err != nil {
			return err
		}
		fmt.Println(id)
	}
	return nil
}

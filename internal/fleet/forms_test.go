package fleet_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/secret"
	"keyway/internal/session/redis"
	"keyway/internal/testkit/redisserver"
)

// Redis is tested by the package that has it.

func TestMemory(t *testing.T) {
	fleettest.RunBoard(t, func(*testing.T) fleet.Board { return fleettest.NewMemory().Link() })
	fleettest.RunRegister(t, func(*testing.T) fleet.Register { return fleettest.NewMemory().Link() })
	fleettest.RunWatcher(t, func(*testing.T) fleettest.WatchedBoard { return fleettest.NewMemory().Link() })
}

func TestFolder(t *testing.T) {
	fleettest.RunBoard(t, func(t *testing.T) fleet.Board { return openFolder(t, t.TempDir()+"/fleet") })
	fleettest.RunRegister(t, func(t *testing.T) fleet.Register { return openFolder(t, t.TempDir()+"/fleet") })
	fleettest.RunWatcher(t, func(t *testing.T) fleettest.WatchedBoard { return openFolder(t, t.TempDir()+"/fleet") })
}

func openFolder(t testing.TB, path string) *fleet.Folder {
	t.Helper()
	f, err := fleet.OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func openRedis(t testing.TB, url string) *redis.Store {
	t.Helper()
	store, err := redis.Open(t.Context(), redis.Options{URL: secret.NewValue([]byte(url))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// forms are the stores that several processes can share, and how each of them
// gets there, told in words that can be handed to another process.
func forms(t *testing.T, test func(t *testing.T, where string)) {
	t.Run("folder", func(t *testing.T) { test(t, "folder "+t.TempDir()+"/fleet") })
	t.Run("redis", func(t *testing.T) { test(t, "redis "+redisserver.Start(t).URL()) })
}

// openBoard opens what forms named, anew: what a further replica sees.
func openBoard(t testing.TB, where string) fleet.Board {
	t.Helper()
	kind, what, _ := strings.Cut(where, " ")
	if kind == "redis" {
		return openRedis(t, what).Board()
	}
	return openFolder(t, what)
}

func TestMain(m *testing.M) {
	if task := os.Getenv("FLEET_TEST_CHILD"); task != "" {
		if err := childMain(task); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

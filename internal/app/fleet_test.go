package app

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/telemetry"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// opened is a gateway that is ready to serve and does not, so that its rings can
// be looked at.
func opened(t *testing.T, environ map[string]string) (*app, error) {
	o := options(t, environ, managed, "")
	a := &app{config: o.Config, log: o.Log}
	t.Cleanup(func() {
		if err := a.resources.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return a, a.open(t.Context(), o.Env)
}

// Two replicas with a Redis in common and nothing else agree on every key,
// whichever was first, and though they came at once.
func TestReplicasAgreeOnTheirKeys(t *testing.T) {
	threat.Covers(t, 57)
	server := redisserver.Start(t)
	shared := map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt}
	var replicas [3]*app
	var group sync.WaitGroup
	for i := range replicas {
		environ := env(t, shared)
		group.Go(func() {
			var err error
			if replicas[i], err = opened(t, environ); err != nil {
				t.Errorf("replica %d: %v", i, err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	ids := func(a *app) map[string]string {
		found := make(map[string]string)
		for _, ring := range a.heldRings() {
			found[ring.Name()] = ring.Active().ID
		}
		return found
	}
	want := ids(replicas[0])
	for _, name := range []string{nameSigningKey, nameSessionKey, nameCSRFKey, nameStateKey, nameUAHashSalt, nameTokenHashSalt} {
		if want[name] == "" {
			t.Errorf("no %s", name)
		}
	}
	for i, replica := range replicas[1:] {
		if found := ids(replica); !maps.Equal(found, want) {
			t.Errorf("replica %d holds %v, the first %v", i+1, found, want)
		}
		if !sameValue(replica.current.Load().rings[nameSessionKey], replicas[0].current.Load().rings[nameSessionKey]) || !sameValue(replica.current.Load().rings[nameSigningKey], replicas[0].current.Load().rings[nameSigningKey]) {
			t.Errorf("replica %d holds other values under the same ids", i+1)
		}
	}
}

func sameValue(a, b keyring.Ring) bool { return a.Active().Value.Equal(b.Active().Value) }

// A replica that brings a folder with a key of its own says so, and signs with
// the fleet's.
func TestAFolderWithAnotherKeyGivesWay(t *testing.T) {
	server, c := redisserver.Start(t), client(t)
	alone := env(t, nil)
	lone := start(t, options(t, alone, managed, ""))
	_, own := get(c, lone.Public+"/.well-known/jwks.json")
	if err := lone.stop(t); err != nil {
		t.Fatal(err)
	}

	shared := map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt}
	first := start(t, options(t, env(t, shared), managed, ""))
	_, fleet := get(c, first.Public+"/.well-known/jwks.json")

	joins := options(t, env(t, map[string]string{
		"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt, "BFF_KEYS_DIR": alone["BFF_KEYS_DIR"],
	}), managed, "")
	said := make(chan struct{}, 1)
	joins.Log = told(said, "the folder holds another signing key than the fleet uses")
	second := start(t, joins)
	if _, found := get(c, second.Public+"/.well-known/jwks.json"); found != fleet || found == own {
		t.Errorf("it publishes\n%s, the fleet\n%s", found, fleet)
	}
	select {
	case <-said:
	default:
		t.Error("it did not say so")
	}
}

// A replica with another salt would find nobody's sessions; it is refused, and
// says nothing of either salt.
func TestAReplicaWithAnotherSaltIsRefused(t *testing.T) {
	server := redisserver.Start(t)
	if _, err := opened(t, env(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt})); err != nil {
		t.Fatal(err)
	}
	_, err := opened(t, env(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": otherSalt}))
	if err == nil || !strings.Contains(err.Error(), "TOKEN_HASH_SALT") || strings.Contains(err.Error(), otherSalt) {
		t.Fatalf("got %v", err)
	}
	// The cure that it names is one.
	if !strings.Contains(err.Error(), boardKeys) {
		t.Fatalf("no cure in %v", err)
	}
	for _, key := range strings.Fields(redisCommand(t, server, "KEYS", boardKeys)) {
		if strings.HasPrefix(key, "keyway:") {
			redisCommand(t, server, "DEL", key)
		}
	}
	if _, err := opened(t, env(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": otherSalt})); err != nil {
		t.Errorf("after the cure: %v", err)
	}
}

// redisCommand sends one command, and returns what is answered at once.
func redisCommand(t *testing.T, server *redisserver.Server, words ...string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", server.Addr(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "%s\r\nQUIT\r\n", strings.Join(words, " ")); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// A signing key that is handed in to a fleet that has one is not used, which
// must not happen in silence. The same key is nothing to speak of.
func TestASigningKeyThatIsNotUsedIsTold(t *testing.T) {
	server := redisserver.Start(t)
	shared := map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt}
	first, err := opened(t, env(t, shared))
	if err != nil {
		t.Fatal(err)
	}
	lone, err := opened(t, env(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	fleets := string(first.current.Load().rings[nameSigningKey].Active().Value.Reveal())
	others := string(lone.current.Load().rings[nameSigningKey].Active().Value.Reveal())
	if err := os.WriteFile(file, []byte(others), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		key  string
		want int
	}{
		"another":               {others, 1},
		"another, in a file":    {file, 1},
		"another, in one line":  {strings.ReplaceAll(others, "\n", `\n`), 1},
		"a file that is not":    {file + ".no.pem", 1},
		"the fleet's":           {fleets, 0},
		"the fleet's in a line": {strings.ReplaceAll(fleets, "\n", `\n`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			environ := env(t, shared)
			environ["BFF_JWT_SIGNING_KEY"] = tc.key
			said := make(chan struct{}, 10)
			o := options(t, environ, managed, "")
			a := &app{config: o.Config, log: told(said, "BFF_JWT_SIGNING_KEY")}
			defer a.resources.Close()
			if err := a.open(t.Context(), o.Env); err != nil {
				t.Fatal(err)
			}
			if len(said) != tc.want {
				t.Errorf("said %d times, want %d", len(said), tc.want)
			}
		})
	}
}

// The first replica's signing key comes from its folder, so that a Redis that lost
// everything is given the same one again, which peers know.
func TestAnEmptiedStoreIsGivenTheSameSigningKey(t *testing.T) {
	first, second := redisserver.Start(t), redisserver.Start(t)
	environ := env(t, map[string]string{"REDIS_URL": first.URL(), "TOKEN_HASH_SALT": goodSalt})
	before, err := opened(t, environ)
	if err != nil {
		t.Fatal(err)
	}
	environ = maps.Clone(environ)
	environ["REDIS_URL"] = second.URL()
	after, err := opened(t, environ)
	if err != nil {
		t.Fatal(err)
	}
	if !sameValue(before.current.Load().rings[nameSigningKey], after.current.Load().rings[nameSigningKey]) {
		t.Errorf("other keys than those in %s", filepath.Base(environ["BFF_KEYS_DIR"]))
	}
}

// told is a log that closes over the first line with a message that begins so.
func told(said chan<- struct{}, begin string) *slog.Logger {
	log, err := telemetry.NewLogger(&listener{said, begin}, "text", "debug")
	if err != nil {
		panic(err) // constant arguments
	}
	return log
}

type listener struct {
	said  chan<- struct{}
	begin string
}

func (l *listener) Write(line []byte) (int, error) {
	if strings.Contains(string(line), l.begin) {
		select {
		case l.said <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

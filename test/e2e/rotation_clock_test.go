package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/child"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// Replicas whose clocks are five minutes off, one each way. Whoever is asked, every
// replica publishes a key before anything is signed with it.
func fleetClocks(t *testing.T) {
	threat.Covers(t, 54, 57, 63)
	w, demo := atDemo(t, "private_key_jwt", idp.Options{AccessTokenLifetime: time.Hour})
	redis := redisserver.Start(t, redisserver.Password(redisPassword))
	w.ledger.add("the Redis password", redisPassword)
	w.Env["REDIS_URL"] = redis.URL()
	one := w.serve(t, nil)
	replicas := []*Process{one, w.serveAt(t, 5*time.Minute), w.serveAt(t, -5*time.Minute)}
	signed := witness(t, w, demo.Provider, replicas)
	users := w.work(t, []*Browser{w.enter(t, one)}, replicas)

	for i, asked := range replicas {
		t.Run(fmt.Sprintf("asked at replica %d", i+1), func(t *testing.T) {
			rotate(t, asked, false, signingKeyName, sessionKeyName, tokenHashSaltName)
			w.enter(t, one)
		})
	}
	t.Run("led by one whose clock is wrong", func(t *testing.T) {
		users.end(t)
		before, led := statusOf(t, one, signingKeyName).Active, fleetOf(t, one).Leader
		one.Terminate(t)
		ask(t, replicas[1], false, signingKeyName)
		soon(t, "another leads", func() bool { s := fleetOf(t, replicas[2]); return s.Leader != "" && s.Leader != led })
		refused := demo.Stats().AuthFailed[clientID]
		soon(t, "it has asked the provider", func() bool { return demo.Stats().AuthFailed[clientID] > refused })
		if s := statusOf(t, replicas[1], signingKeyName); s.Active != before {
			t.Errorf("in use without a proof: %s", said(s))
		}
	})
	signed.end(t)
}

// witnessed has looked, whenever a client assertion arrived at the provider, whether all
// replicas published the key at that moment.
type witnessed struct {
	mu    sync.Mutex
	kids  map[string]int
	wrong []string
}

func witness(t testing.TB, w *world, p *idp.Provider, replicas []*Process) *witnessed {
	s := &witnessed{kids: map[string]int{}}
	p.SetHooks(&idp.Hooks{Before: func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != "POST" {
			return false
		}
		assertion := clientAssertion(r)
		if assertion == "" {
			return false
		}
		w.ledger.add("a client assertion", assertion)
		kid := kidOf(t, assertion)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.kids[kid]++
		for _, p := range replicas {
			select {
			case <-p.Done():
				continue
			default:
			}
			a, err := NewBrowser(p.URL).Try("GET", "/.well-known/jwks.json", "", "User-Agent", "Mozilla/5.0")
			if err == nil && !strings.Contains(a.Text, kid) {
				s.wrong = append(s.wrong, fmt.Sprintf("%s: signed with %s, which %s does not publish", r.URL.Path, kid, p.URL))
			}
		}
		return false
	}})
	return s
}

func (s *witnessed) end(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kids) < 4 || len(s.wrong) > 0 {
		t.Errorf("assertions by key: %v; %v", s.kids, s.wrong)
	}
}

// serveAt starts one more gateway, whose clock is off by so much.
func (w *world) serveAt(t testing.TB, off time.Duration) *Process {
	t.Helper()
	env := Complete(t, w.Env.With(Env{"PORT": "", "BFF_ADMIN_ADDR": ""}))
	p := &Process{
		Process:  child.Start(t, command(t, withClock(t, BuildKeyway(t), off), env, []string{"serve"})),
		URL:      "http://127.0.0.1:" + env["PORT"],
		AdminURL: "http://" + env["BFF_ADMIN_ADDR"],
		Env:      env, args: []string{"serve"},
	}
	p.WaitReady(t)
	return w.keep(p)
}

// withClock copies a program, and sets the clock of the copy wrong. A Go program
// asks the kernel for the time, without a library that could be put in between; but
// time.Now adds a constant to what it is told, the seconds between its epoch and
// Unix's, and that is a constant in the program that can be another one.
func withClock(t testing.TB, program string, off time.Duration) string {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	now := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "time.Now" })
	if now < 0 {
		t.Fatalf("%s has no time.Now", program)
	}
	section := file.Sections[symbols[now].Section]
	at := section.Offset + symbols[now].Value - section.Addr
	body := text[at : at+symbols[now].Size]

	const unixToWall = (1969*365 + 1969/4 - 1969/100 + 1969/400 - (1884*365 + 1884/4 - 1884/100 + 1884/400)) * 86400
	constant := binary.LittleEndian.AppendUint32(nil, unixToWall)
	if n := bytes.Count(body, constant); n != 1 {
		t.Fatalf("expected the constant %d in time.Now of %s once, found it %d times; has Go's time.Now changed, or is this not amd64?", unixToWall, program, n)
	}
	binary.LittleEndian.PutUint32(body[bytes.Index(body, constant):], uint32(unixToWall+int64(off/time.Second)))
	path := filepath.Join(t.TempDir(), "keyway")
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/cli"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/threat"
)

// demoSecrets are all that the demo's gateway holds.
var demoSecrets = []string{
	"client-secret/demo", "csrf-key", "key-encryption-key", "session-key", "signing-key", "state-key", "token-hash-salt", "ua-hash-salt",
}

// turned is what `keyway rotate --json` answers.
type turned struct {
	Rotations []struct {
		Secret, From, To, Outcome string
		TookMS                    int64 `json:"took_ms"`
	}
}

// keyway runs a command as an operator would in another terminal, and reads its
// JSON.
func keyway(t *testing.T, demo *Process, answer any, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Run(t.Context(), append(args, "--json"), []string{"KEYWAY_ADMIN=" + demo.AdminURL}, &stdout, &stderr)
	if code != 0 {
		t.Fatalf("keyway %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout.String(), stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), answer); err != nil {
		t.Fatalf("keyway %s: %v\n%s", strings.Join(args, " "), err, stdout.String())
	}
}

// Everything that the demo holds turns, three times, while people use it. Nobody
// is signed out, nothing is refused, and the streams go on.
func TestEverythingTurnsInTheDemo(t *testing.T) {
	threat.Covers(t, 54, 61)
	demo := startDemo(t)
	c := &crowd{base: demo.URL}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // on a machine with much else to do
	defer cancel()

	var visitors []*visitor
	var ticks [4]atomic.Int64
	var streams, workers sync.WaitGroup
	streaming, hangUp := context.WithCancel(ctx)
	defer hangUp()
	working, stop := context.WithCancel(ctx)
	defer stop()
	for i := range ticks {
		v, ok := c.arrive(ctx, []string{"ada", "grace"}[i%2])
		if !ok || !v.fetchCSRF(ctx) {
			t.Fatal(c.failures)
		}
		visitors = append(visitors, v)
		r, _ := http.NewRequestWithContext(streaming, "GET", c.base+"/api/ticks", nil)
		stream, err := v.Client.Do(r)
		if err != nil || stream.StatusCode != 200 {
			t.Fatalf("stream: %v %v", stream, err)
		}
		defer stream.Body.Close()
		streams.Go(func() {
			v.watch(stream.Body, &ticks[i])
			if streaming.Err() == nil {
				c.fail("a stream ended after %d events", ticks[i].Load())
			}
		})
	}
	for _, v := range visitors {
		workers.Go(func() { c.again(working, 20*time.Millisecond, func() { v.work(ctx) }) })
	}
	workers.Go(func() { // people who come, and go on for a moment
		c.again(working, 50*time.Millisecond, func() {
			if v, ok := c.arrive(ctx, "grace"); ok && v.fetchCSRF(ctx) {
				v.work(ctx)
				v.Client.CloseIdleConnections()
			}
		})
	})
	m := newMachine(t, demo)
	workers.Go(func() { c.again(working, 30*time.Millisecond, func() { c.serve(ctx, m) }) })
	workers.Go(func() { c.again(working, probing, func() { c.probe(ctx, m) }) })

	active := map[string]string{}
	for round := range 3 {
		// Somebody is at the provider's page when everything turns.
		halfway := &visitor{Browser: idptest.NewBrowser(&http.Transport{}), c: c}
		page, err := halfway.Get(ctx, c.base+"/auth/login?return_to=/")
		if err != nil || page.Status != 200 {
			t.Fatalf("sign-in page: %v, %+v", err, page)
		}
		c.settle(t)

		var answer turned
		keyway(t, demo, &answer, "rotate", "--all", "--wait")
		checkTurned(t, round, answer, active)

		if page, err = halfway.Submit(ctx, page, map[string][]string{"username": {"ada"}, "password": {"demo"}}); err != nil || page.URL.String() != c.base+"/" {
			t.Errorf("round %d: the sign-in that was under way: %v, %+v", round+1, err, page)
		} else {
			halfway.signedIn(ctx)
		}
		c.settle(t)
	}
	before := [len(ticks)]int64{}
	for i := range ticks {
		before[i] = ticks[i].Load()
	}
	eventually(t, "the streams go on", func() bool {
		for i := range ticks {
			if ticks[i].Load() <= before[i] {
				return false
			}
		}
		return true
	})
	stop()
	workers.Wait()
	for _, v := range visitors {
		v.signedIn(ctx)
	}
	said := demo.Output() // before the streams end, of which it complains
	hangUp()
	streams.Wait()
	for _, failure := range c.failures[:min(len(c.failures), 20)] {
		t.Error(failure)
	}
	t.Logf("%d requests, %d failures; %d sessions and as many streams through 3 rotations of %d secrets",
		c.requests.Load(), len(c.failures), len(visitors), len(demoSecrets))
	// What was turned by plan is nothing to complain of. But the file of the client
	// secret is read a moment after the fleet has taken the new one up.
	for line := range strings.Lines(said) {
		if (strings.Contains(line, " WRN ") || strings.Contains(line, " ERR ")) && !strings.Contains(line, " status=499 ") { // that is our own going
			t.Errorf("the demo complains: %s", line)
		}
	}
}

// checkTurned wants every secret turned, from what was active.
func checkTurned(t *testing.T, round int, answer turned, active map[string]string) {
	t.Helper()
	var names []string
	for _, r := range answer.Rotations {
		names = append(names, r.Secret)
		if r.Outcome != "active" || r.To == r.From || active[r.Secret] != "" && r.From != active[r.Secret] {
			t.Errorf("round %d: %+v, after %s was active", round+1, r, active[r.Secret])
		}
		active[r.Secret] = r.To
		t.Logf("round %d: %-18s active after %4d ms", round+1, r.Secret, r.TookMS)
	}
	slices.Sort(names)
	if !slices.Equal(names, demoSecrets) {
		t.Errorf("round %d: turned %v, want %v", round+1, names, demoSecrets)
	}
}

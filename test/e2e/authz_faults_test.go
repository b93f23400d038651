package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/opa"
	"keyway/internal/threat"
)

// notesPolicy lets everybody read notes, and nobody books.
const notesPolicy = `package authzen

evaluation := {"decision": allowed(input)}

evaluations := {"evaluations": [{"decision": allowed(q)} | some q in input.evaluations]}

default allowed(_) := false

allowed(q) if {
	q.resource.type == "note"
	q.action.name == "read"
}
`

const opaEndpoints = "endpoints: {evaluation: " + opa.Evaluation + ", evaluations: " + opa.Evaluations + "}\n"

// aBreaker opens after three failures, for a second.
const aBreaker = "circuit_breaker: {failures: 3, open_for: 1s}\n"

// A decision point that is gone is one that has not allowed; that it is gone is found
// out once, and that it is back, by itself.
func TestDecisionPointGoesAndComesBack(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		away, back func(*opa.Server)
		// fresh: until the breaker opens, each request waits for an answer.
		waits bool
	}{
		{"killed", (*opa.Server).Kill, (*opa.Server).Restart, false},
		{"hanging", (*opa.Server).Pause, (*opa.Server).Resume, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			threat.Covers(t, 48)
			pdp := opa.Start(t, map[string]string{"policy.rego": notesPolicy})
			w := decidedBy(t, pdpAt(pdp.URL(), opaEndpoints+aBreaker+"cache: {ttl_allow: 1h, ttl_deny: 1h}\n"), idp.Options{}, nil)
			b := w.enter(t, w.One)
			w.wantAllowed(t, b, "/note/known")
			w.wantDenied(t, b, "GET", "/book/known", "")

			tc.away(pdp)
			n := 0
			unknown := func() string { n++; return fmt.Sprintf("/note/unknown-%d", n) }
			for range 4 {
				within(t, denialBound, func() { w.wantDenied(t, b, "GET", unknown(), "") })
			}
			// It is left alone now: nobody waits for it.
			before := pdpRequests(t, w.One)
			within(t, denialBound, func() {
				for range 20 {
					w.wantDenied(t, b, "GET", unknown(), "")
				}
			})
			if after := pdpRequests(t, w.One); after-before > 10 {
				t.Errorf("it was asked %d times by 20 requests, though it does not answer", after-before)
			}
			// What it said goes on being true for a while; and who needs none, is served.
			w.wantAllowed(t, b, "/note/known")
			w.wantDenied(t, b, "GET", "/book/known", "")
			w.wantAllowed(t, b, "/free")
			wantStatus(t, b.Get(t, "/health/ready"), 200)
			if !b.SignedIn(t) {
				t.Error("she has lost her session")
			}

			tc.back(pdp)
			eventually(t, "it is asked again", func() bool { return b.Get(t, "/note/back").StatusCode == 200 })
			w.wantAllowed(t, b, unknown())
			w.wantDenied(t, b, "GET", "/book/unknown", "")
		})
	}
}

var pdpRequestLines = regexp.MustCompile(`(?m)^bff_pdp_requests_total\{[^}]*\} ([0-9.e+]+)$`)

// pdpRequests is how often the decision point was asked, by the gateway's metrics.
func pdpRequests(t testing.TB, p *Process) (n int) {
	t.Helper()
	for _, m := range pdpRequestLines.FindAllStringSubmatch(NewBrowser(p.AdminURL).Get(t, "/metrics").Text, -1) {
		v, _ := strconv.ParseFloat(m[1], 64)
		n += int(v)
	}
	return n
}

// Each fault on the way to the decision point. Of what is denied nothing is let
// through, whatever the network does; of what is allowed, sometimes nothing.
func TestFaultsOnTheWayToTheDecisionPoint(t *testing.T) {
	t.Parallel()
	pdp := opa.Start(t, map[string]string{"policy.rego": notesPolicy})
	link := linkTo(t, pdp.URL())
	w := decidedBy(t, pdpAt("http://"+link.Addr(), opaEndpoints+aBreaker), idp.Options{}, Env{"LOG_LEVEL": "info"})
	b := w.enter(t, w.One)
	w.wantAllowed(t, b, "/note/before")
	goroutinesBefore := goroutines(t, w.One)
	for i, f := range allFaults {
		t.Run(f.name, func(t *testing.T) {
			threat.Covers(t, 48)
			threat.Covers(t, 67)
			f.on(link)
			var all sync.WaitGroup
			get := func(path string, may ...int) {
				all.Go(func() {
					start := time.Now()
					a, err := b.Try("GET", path, "")
					if took := time.Since(start); took > denialBound {
						t.Errorf("%s took %v", path, took)
					}
					if err != nil || !strings.Contains(fmt.Sprint(may), fmt.Sprint(a.StatusCode)) {
						t.Errorf("%s: %v %v, want one of %v", path, status(a), err, may)
					}
				})
			}
			for n := range 3 {
				get(fmt.Sprintf("/note/%d-%d", i, n), 200, 403)
				get(fmt.Sprintf("/book/%d-%d", i, n), 403)
				get("/free", 200)
				get("/auth/verify", 200)
			}
			all.Wait()
			link.Up()
			again := 0
			eventually(t, "it works again", func() bool {
				again++
				return b.Get(t, fmt.Sprintf("/note/%d-again-%d", i, again)).StatusCode == 200
			})
			w.wantDenied(t, b, "GET", fmt.Sprintf("/book/%d-again", i), "")
			if !b.SignedIn(t) {
				t.Error("she has lost her session")
			}
		})
	}
	w.API.CloseClientConnections()
	wantNoMoreGoroutines(t, w.One, goroutinesBefore+12)
}

// A decision point that refuses our credentials has allowed nothing. Another one that
// is handed in is used without a restart.
func TestDecisionPointRefusesOurCredentials(t *testing.T) {
	t.Parallel()
	good, bad := rand.Text()+rand.Text(), rand.Text()+rand.Text()
	pdp := opa.Start(t, map[string]string{
		"policy.rego": notesPolicy,
		"who.rego":    "package system.authz\n\ndefault allow := false\n\nallow if input.identity == \"" + good + "\"\n",
	}, "--authentication=token", "--authorization=basic")
	file := filepath.Join(t.TempDir(), "pdp-token")
	write(t, file, bad)
	w := decidedBy(t, strings.Replace(pdpAt(pdp.URL(), opaEndpoints), "timeout: 500ms", fmt.Sprintf("timeout: 500ms, credentials: {method: bearer, token: %q}", "file:"+file), 1),
		idp.Options{}, nil)
	w.ledger.add("a token for the decision point", good)
	w.ledger.add("a token for the decision point", bad)
	b := w.enter(t, w.One)
	threat.Covers(t, 48)
	w.wantDenied(t, b, "GET", "/note/1", "")
	w.wantAllowed(t, b, "/free")
	if !b.SignedIn(t) {
		t.Error("she has lost her session")
	}
	if metrics := NewBrowser(w.One.AdminURL).Get(t, "/metrics").Text; !regexp.MustCompile(`(?m)^bff_client_auth_total\{[^}]*outcome="refused"[^}]*\} [1-9]`).MatchString(metrics) {
		t.Error("bff_client_auth_total says of no credential that it is refused")
	}
	write(t, file, good)
	eventually(t, "the good one is in use", func() bool { return b.Get(t, "/note/1").StatusCode == http.StatusOK })
	w.wantDenied(t, b, "GET", "/book/1", "")
}

// The policies of a folder change under the hands of who is at work.
func TestPoliciesChange(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	const readers = "@id(\"readers\")\npermit (principal in role::\"%s\", action, resource);\n"
	write(t, filepath.Join(folder, "notes.cedar"), fmt.Sprintf(readers, "editor"))
	w := decidedBy(t, fmt.Sprintf("policies: %q\ncache: {ttl_allow: 1h, ttl_deny: 1h}\n", folder), idp.Options{ClaimsInIDToken: true}, nil)
	b := w.enter(t, w.One)
	w.wantAllowed(t, b, "/note/1")
	resp := b.Open(t, "/ticks")
	defer resp.Body.Close()
	wantTick(t, resp)

	// What can't be used is not used; what was good stays.
	write(t, filepath.Join(folder, "notes.cedar"), "permit (principal, action")
	eventually(t, "it says that the policies are broken", func() bool { return strings.Contains(w.One.Output(), "can't be used") })
	w.wantAllowed(t, b, "/note/1")

	write(t, filepath.Join(folder, "notes.cedar"), fmt.Sprintf(readers, "nobody"))
	eventually(t, "an allow that was remembered is forgotten", func() bool { return b.Get(t, "/note/1").StatusCode == 403 })
	wantEnd(t, resp, 5*time.Second)
	w.wantDenied(t, b, "GET", "/ticks", "")

	write(t, filepath.Join(folder, "notes.cedar"), fmt.Sprintf(readers, "editor"))
	eventually(t, "a deny is, too", func() bool { return b.Get(t, "/note/1").StatusCode == 200 })
}

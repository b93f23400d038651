package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keyway/internal/admin"
	keyway "keyway/internal/gateway"
	"keyway/internal/rotation"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// fakeControl is a fleet whose secrets turn by being looked at: session-key to the
// end, the others each in another way.
type fakeControl struct {
	mu      sync.Mutex
	records map[string]rotation.Rotation
	looked  map[string]int
	asked   chan string // an id for each look; nil: nobody listens
}

var fakeSecrets = []string{"client-secret", "signing-key", "session-key", "csrf-key", "state-key"}

func newFakeControl() *fakeControl {
	return &fakeControl{records: map[string]rotation.Rotation{}, looked: map[string]int{}}
}

func known(names []string) error {
	for _, name := range names {
		if !slices.Contains(fakeSecrets, name) {
			return &admin.UnknownSecretError{Name: name, Known: fakeSecrets}
		}
	}
	return nil
}

func (f *fakeControl) Status(context.Context) (admin.Status, error) {
	now := time.Now()
	// Half a minute beyond, so that a slow machine reads the same.
	at := func(d time.Duration) *time.Time { t := now.Add(d + 30*time.Second); return &t }
	ago := func(d time.Duration) *time.Time { t := now.Add(-d - 30*time.Second); return &t }
	n := 143
	const day = 24 * time.Hour
	return admin.Status{
		Store: "Redis", Leader: "r1", Notes: []string{"rotation by age is off"},
		Secrets: []admin.SecretStatus{
			{
				Name: "session-key", Kind: "inward", Source: "managed", Active: "Zk81", NextRotationAt: at(78 * day),
				Versions: []admin.VersionStatus{
					{ID: "Zk81", State: "active", CreatedAt: ago(12 * day), ActivatedAt: ago(12 * day)},
					{ID: "7Kq2", State: "retiring", RetiresAt: at(57 * time.Minute), Dependents: &n},
					{ID: "gone", State: "retired"},
				},
			},
			{
				Name: "client-secret", Kind: "outward", Source: "handed_in", Active: "x1", Waiting: "the peer refuses it so far", Blocked: []string{"r2"},
				Trouble: "\x1b[2Jthe file is empty", Operator: "hand in a newer value",
				Versions: []admin.VersionStatus{{ID: "x2", State: "pending", CreatedAt: ago(3 * time.Minute)}, {ID: "x1", State: "active"}},
				Rotation: &rotation.Rotation{NextAt: *at(4 * time.Minute)},
			},
			{Name: "state-key", Source: "managed", Active: "s1", Rotation: &rotation.Rotation{
				Outcome: "rolled_back", EndedAt: *ago(5 * time.Hour), Steps: []rotation.Step{{What: "rolled_back", Detail: "9 refusals since the activation"}},
			}},
		},
		Replicas: []admin.ReplicaStatus{
			{ID: "r1", Host: "pod-a", SeenAt: *ago(3 * time.Minute), StartedAt: *ago(3 * day), Live: true},
			{ID: "r2", Host: "pod-b", SeenAt: *ago(3 * time.Minute), StartedAt: *ago(2 * time.Hour), Live: true, Lacks: []string{"client-secret x2"}},
			{ID: "r3", Host: "pod-c", SeenAt: *ago(5 * time.Minute)},
		},
	}, nil
}

func (f *fakeControl) Plan(_ context.Context, names []string, compromised bool) ([]admin.Plan, error) {
	if len(names) == 0 {
		names = fakeSecrets
	}
	notice, soon := "nobody", time.Now()
	if compromised {
		notice = "143 sessions are signed out"
	}
	var plans []admin.Plan
	for _, name := range names {
		p := admin.Plan{Secret: name, From: "v1", Steps: []string{"make a new version", "use it"}, Notices: []string{notice}, EarliestAt: &soon}
		if name == "client-secret" {
			p = admin.Plan{Secret: name, From: "v1", Refused: "hand in a newer value first"}
		}
		plans = append(plans, p)
	}
	return plans, known(names)
}

func (f *fakeControl) Rotate(_ context.Context, r admin.Request) ([]rotation.Rotation, error) {
	names := r.Secrets
	if r.All {
		names = fakeSecrets[2:3]
	}
	if err := known(names); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	var started []rotation.Rotation
	for _, name := range names {
		one := rotation.Rotation{ID: "of-" + name, Secret: name, From: "v1", To: "v2", Compromised: r.Compromised, StartedAt: now, Steps: []rotation.Step{{At: now, What: "made"}}}
		if name == "client-secret" { // no record is kept of it
			one = rotation.Rotation{ID: "nothing", Secret: name, From: "v1", StartedAt: now, EndedAt: now, Outcome: "needs_operator", Waiting: "hand in a newer value"}
		} else {
			f.records[one.ID] = one
		}
		started = append(started, one)
	}
	return started, nil
}

func (f *fakeControl) Rollback(_ context.Context, name, _ string) (rotation.Rotation, error) {
	now := time.Now()
	one := rotation.Rotation{ID: "back", Secret: name, From: "v2", To: "v1", StartedAt: now, EndedAt: now, Outcome: "active"}
	switch name {
	case "signing-key":
		one.From, one.To, one.Outcome = "v1", "v2", "rejected"
	case "state-key":
		return one, &admin.RefusedError{Secret: name, Why: "the previous version is retired", Cure: "Rotate to a new one."}
	}
	return one, known([]string{name})
}

func (f *fakeControl) Rotations(_ context.Context, ids []string) ([]rotation.Rotation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []rotation.Rotation
	for _, id := range ids {
		one, ok := f.records[id]
		if !ok {
			continue
		}
		f.looked[id]++
		f.advance(&one, f.looked[id])
		f.records[id] = one
		found = append(found, one)
		if f.asked != nil {
			select {
			case f.asked <- id:
			default:
			}
		}
	}
	return found, nil
}

func (f *fakeControl) advance(r *rotation.Rotation, looked int) {
	step := func(what, detail string) {
		r.Steps = append(r.Steps, rotation.Step{At: time.Now(), What: what, Detail: detail})
	}
	end := func(outcome string) {
		r.Outcome, r.EndedAt, r.Waiting, r.Blocked = outcome, time.Now(), "", nil
	}
	switch {
	case r.Outcome != "":
	case looked == 1:
		r.Waiting, r.Blocked = "not yet held by r2", []string{"r2"}
	case r.Secret == "state-key": // for ever
	case r.Secret == "signing-key":
		step("rejected", "the peer has refused it for 1h0m0s")
		end("rejected")
	case r.Secret == "csrf-key":
		step("rolled_back", "9 refusals since the activation")
		end("rolled_back")
	default:
		step("held", "by every live replica")
		step("activated", "")
		end("active")
	}
}

const storyToken = "a-token-of-a-story-0123456789abcdefghij"

// gateway is the story's command: an admin API over a fake fleet, at $NAME.
func gateway(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, 2, "gateway NAME [token|public|other|starting]")
	o := admin.Options{Control: newFakeControl(), Auditor: newFakeRecord(5), Sessions: newFakeSessions(), Loopback: true}
	var h http.Handler
	switch kind := strings.Join(args[1:], ""); kind {
	case "":
		h = admin.New(o)
	case "token":
		o.Token = func() (secret.Value, bool) { return secret.NewValue([]byte(storyToken)), true }
		h = admin.New(o)
	case "public": // the other listener, which has nothing there
		h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"type":"about:blank","title":"There is nothing here.","status":404,"code":"not_found"}`))
		})
	case "starting": // which waits for its store
		h = keyway.Starting{Health: &keyway.Health{Starting: true}}
	case "other": // which steers terminals and sends tokens elsewhere
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html\u009b2J")
			http.Redirect(w, r, "http://attacker.example/", http.StatusFound)
		})
	default:
		ts.Fatalf("no kind of gateway is %q", kind)
	}
	server := httptest.NewServer(h)
	ts.Defer(server.Close)
	ts.Setenv(args[0], server.URL)
}

// run calls a command in this process.
func run(ctx context.Context, url string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Run(ctx, args, []string{"KEYWAY_ADMIN=" + url}, &out, &err)
	return code, out.String(), err.String()
}

func TestInterruptedWaitSaysThatItGoesOn(t *testing.T) {
	for _, extra := range [][]string{nil, {"--json"}} {
		control := newFakeControl()
		control.asked = make(chan string)
		server := httptest.NewServer(admin.New(admin.Options{Control: control, Loopback: true}))
		t.Cleanup(server.Close)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-control.asked // somebody waits
			cancel()
		}()
		code, stdout, stderr := run(ctx, server.URL, append([]string{"rotate", "state-key", "--wait"}, extra...)...)
		if code != exitNotSo || !strings.Contains(stderr, "stopped waiting; the rotation goes on") {
			t.Errorf("%d, %s", code, stderr)
		}
		if want := "under way"; extra == nil && !strings.Contains(stdout, want) {
			t.Errorf("expected %q in %s", want, stdout)
		}
		if want := `"outcome": ""`; extra != nil && !strings.Contains(stdout, want) {
			t.Errorf("expected %q in %s", want, stdout)
		}
	}
}

// A replica that is stopped under somebody who waits, and another in its place.
func TestWaitOutlivesTheReplicaThatIsAsked(t *testing.T) {
	threat.Covers(t, 69)
	control := newFakeControl()
	h := admin.New(admin.Options{Control: control, Loopback: true})
	var mu sync.Mutex
	polls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			mu.Lock()
			polls++
			n := polls
			mu.Unlock()
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
			if n == 2 {
				w.WriteHeader(http.StatusServiceUnavailable) // by a load balancer, say
				return
			}
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	code, stdout, stderr := run(t.Context(), server.URL, "rotate", "session-key", "--wait")
	if code != exitOK || !strings.Contains(stdout, "activated") || strings.Count(stderr, "goes on without it") != 1 {
		t.Errorf("%d\n%s\n%s", code, stdout, stderr)
	}
}

func TestSpans(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		0: "now", 999 * time.Millisecond: "now", time.Second: "in 1 s", -90 * time.Second: "90 s ago", 150 * time.Second: "in 2 min",
		-100 * time.Minute: "100 min ago", 26 * time.Hour: "in 26 h", -12*24*time.Hour - time.Hour: "12 d ago",
	} {
		if got := relative(now.Add(d), now); got != want {
			t.Errorf("%v: expected %q, found %q", d, want, got)
		}
	}
}

func TestColourIsForTerminalsOnly(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) || isTerminal(&bytes.Buffer{}) || bool(painter(&streams{stdout: null})) {
		t.Error("the null device, or a buffer, passes for a terminal")
	}
	if got := paint(true).in(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	var b strings.Builder
	table := newTable(true, "A", "B")
	table.row(cell{"ä\x1b[2J", green}, cell{"b", ""})
	table.note(red, "note")
	table.write(&b)
	if want := "\x1b[2mA\x1b[0m      \x1b[2mB\x1b[0m\n\x1b[32mä?[2J\x1b[0m  b\n       \x1b[31mnote\x1b[0m\n"; b.String() != want {
		t.Errorf("expected %q, found %q", want, b.String())
	}
}

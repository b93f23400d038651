package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keyway/internal/audit"
	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/authz/cedar"
	"keyway/internal/gateway"
	"keyway/internal/route"
	"keyway/internal/session/memory"
	"keyway/internal/telemetry"
)

const (
	// judgedTarget is as proxiedTarget, on a route with authz: pdp.
	judgedTarget = "/api/judge/7b0d?limit=10"
	// decisionPath is where the second process is a decision point, which is
	// decisionTakes away.
	decisionPath  = "/pdp/evaluation"
	decisionTakes = time.Millisecond
	// authzRate is how many requests a second come while those are measured that wait
	// for somebody.
	authzRate        = 1000
	authzConnections = 8
)

// decide is the decision point in the second process.
func decide(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	time.Sleep(decisionTakes)
	w.Header()["Content-Type"] = []string{"application/json"}
	_, _ = io.WriteString(w, `{"decision":true}`)
}

// decides is who says who may do what in a replica.
type decides struct {
	enforcer *authz.Enforcer
	events   *audit.Decisions // nil: nobody is told
}

// parts has a generation ask, as internal/app does, and says who is told of decisions.
func (d *decides) parts(parts *gateway.Parts, metrics *telemetry.Metrics) func(authz.Event) {
	if d == nil {
		return nil
	}
	ask, err := authz.Compile(authz.Mapping{Resource: "note", Action: "read", IDFrom: "{id}"})
	if err != nil {
		panic(err) // it is ours
	}
	parts.Authz, parts.Asks = d.enforcer, authz.CompileAll(parts.Routes, func(*route.Route, string) *authz.Ask { return ask })
	parts.Settings.TrustedProxies = gateway.TrustedProxies{netip.MustParsePrefix("127.0.0.1/32")}
	return func(e authz.Event) {
		metrics.Decided(e.Resource, e.Action, e.Decision, e.Took)
		if d.events != nil {
			d.events.Record(audit.Decision{
				At: time.Now(), Decision: e.Decision, Resource: e.Resource, Action: e.Action, ID: e.ID, Route: e.Route,
				Provider: e.Who.Provider, Subject: e.Who.Subject, CorrelationID: e.CorrelationID, Took: e.Took, Reason: e.Reason, Cached: e.Cached,
			})
		}
	}
}

// judges are the ways in which a request can be decided about.
type judges struct {
	remembered, told, embedded, remote *decides
	close                              []func()
}

func (j *judges) closeAll() {
	for _, c := range j.close {
		c()
	}
}

func (b *bench) judges() (*judges, error) {
	j := &judges{}
	point, err := b.policies()
	if err != nil {
		return nil, err
	}
	pool := &http.Transport{MaxIdleConnsPerHost: 64}
	j.close = append(j.close, pool.CloseIdleConnections)
	remote, err := authzen.New(authzen.Options{Evaluation: "http://" + b.helper.upstream + decisionPath, HTTP: &http.Client{Transport: pool}})
	if err != nil {
		return nil, err
	}
	enforce := func(pdp authz.PDP, size int) *decides {
		e, wrong := authz.NewEnforcer(authz.Options{PDP: pdp, Local: pdp == authz.PDP(point), TTLAllow: time.Hour, TTLDeny: time.Hour, MaxSize: size})
		if wrong != nil {
			err = wrong
			return nil
		}
		j.close = append(j.close, e.Close)
		return &decides{enforcer: e}
	}
	j.remembered, j.told, j.embedded, j.remote = enforce(point, 10_000), enforce(point, 10_000), enforce(point, 0), enforce(remote, 0)
	if err != nil {
		return nil, err
	}
	log, f, err := nullLog(0)
	if err != nil {
		return nil, err
	}
	j.told.events = audit.NewDecisions(audit.DecisionsOptions{Sinks: []audit.Sink{audit.NewLogSink(log)}, Replica: "bench"})
	ctx, stop := context.WithCancel(b.ctx)
	done := make(chan struct{})
	go func() { defer close(done); j.told.events.Run(ctx) }()
	j.close = append(j.close, func() { stop(); <-done; f.Close() })
	return j, nil
}

// policies is a folder of usual size: twenty of them, of which one permits.
func (b *bench) policies() (*cedar.Point, error) {
	var text strings.Builder
	for i := range 18 {
		fmt.Fprintf(&text, "permit (principal in role::\"role-%d\", action == Action::\"read\", resource is book) when { resource.shelf == %d };\n", i, i)
	}
	text.WriteString("permit (principal in role::\"editor\", action in [Action::\"read\", Action::\"update\"], resource is note);\n")
	text.WriteString("forbid (principal in role::\"suspended\", action, resource);\n")
	dir := b.folder("policies")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.cedar"), []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	return cedar.Open(dir)
}

// authz measures what a decision adds.
func (b *bench) authz() error {
	b.say("who may do what …")
	j, err := b.judges()
	if err != nil {
		return err
	}
	defer j.closeAll()
	if err := b.checks(j); err != nil {
		return err
	}
	return b.waits(j)
}

// judged is a gateway that decides so, with somebody signed in.
func (b *bench) judged(d *decides, k keys) (_ *replica, cookie string, close func(), err error) {
	store := memory.Open(memory.Options{})
	r, err := b.replica(store, k, options{upstream: b.helper.upstream, decides: d})
	if err != nil {
		_ = store.Close()
		return nil, "", nil, err
	}
	close = func() { r.close(); _ = store.Close() }
	cookie, _, err = r.signIn(b.ctx, record("ada"))
	return r, cookie, close, err
}

// checks measures the check of a request alone, as a proxy asks for it, beside that of
// a request about which nobody decides: of a proxied call the rest is time that the
// upstream takes, in which microseconds can't be seen.
func (b *bench) checks(j *judges) error {
	k, err := makeKeys()
	if err != nil {
		return err
	}
	var subjects []subject
	for _, one := range []struct {
		name, target string
		d            *decides
	}{
		{"nobody decides", proxiedTarget, j.remembered},
		{"remembered (aim: + below 1000, no allocation)", judgedTarget, j.remembered},
		{"remembered, and told to the log", judgedTarget, j.told},
		{"decided by policies in this process (aim: + below 10000)", judgedTarget, j.embedded},
	} {
		r, cookie, done, err := b.judged(one.d, k)
		if done != nil {
			defer done()
		}
		if err != nil {
			return err
		}
		request := browserRequest("GET", "/auth/verify", cookie)
		request.Header["X-Original-Uri"], request.Header["X-Original-Method"] = []string{one.target}, []string{"GET"}
		subjects = append(subjects, subject{name: one.name, handler: r.gateway, request: same(request)})
	}
	results, err := b.inProcess(subjects)
	if err != nil {
		return err
	}
	t := table{
		Title:   "Who may do what: the check of a request, the handler called in this process",
		Columns: []column{{"cpu_ns", "CPU ns", 0}, {"added_ns", "+ ns", 0}, {"bytes_op", "B/op", 0}, {"allocs_op", "allocs/op", 0}, {"added_allocs", "+ allocs", 0}},
		Notes: []string{
			"GET /auth/verify about a request, as a proxy asks: all that a proxied call is but the forwarding.",
			"CPU ns: user and system time of this process for one; the least of the rounds, which are taken in turns: what else the machine does only adds.",
			"told to the log: what tells of decisions works beside requests, and counts here all the same.",
		},
	}
	took, err := b.leastCPU(subjects)
	if err != nil {
		return err
	}
	for i, r := range results {
		t.Rows = append(t.Rows, row{subjects[i].name, []float64{
			took[i], took[i] - took[0], float64(r.AllocedBytesPerOp()), float64(r.AllocsPerOp()), float64(r.AllocsPerOp() - results[0].AllocsPerOp()),
		}})
	}
	b.report.Tables = append(b.report.Tables, t)
	return nil
}

// leastCPU is what one call of each handler takes of a processor, in ns.
func (b *bench) leastCPU(subjects []subject) ([]float64, error) {
	least := make([]float64, len(subjects))
	for n := range 4 * b.scale.rounds {
		for i, s := range subjects {
			before := cpu()
			if err := drive(s.handler, s.request(0), b.scale.requests, http.StatusOK); err != nil {
				return nil, err
			}
			each := float64(cpu()-before) / float64(b.scale.requests)
			if n == 0 || each < least[i] {
				least[i] = each
			}
		}
	}
	return least, b.ctx.Err()
}

// waits measures proxied calls over sockets at a moderate rate, and what of them is
// waiting for a decision point.
func (b *bench) waits(j *judges) error {
	k, err := makeKeys()
	if err != nil {
		return err
	}
	pool := &http.Transport{MaxIdleConnsPerHost: 64}
	defer pool.CloseIdleConnections()
	subjects := []subject{
		{name: "a bare handler", handler: http.HandlerFunc(answer), request: same(bareRequest())},
		{name: "that asks the decision point first: one trip", handler: asksFirst(&http.Client{Transport: pool}, "http://"+b.helper.upstream+decisionPath), request: same(bareRequest())},
	}
	for _, one := range []struct {
		name, target string
		d            *decides
	}{
		{"gateway, nobody decides", proxiedTarget, j.remembered},
		{"gateway, remembered", judgedTarget, j.remembered},
		{"gateway, decided by policies in this process", judgedTarget, j.embedded},
		{"gateway, asks a decision point 1 ms away (aim: + one trip)", judgedTarget, j.remote},
	} {
		r, cookie, done, err := b.judged(one.d, k)
		if done != nil {
			defer done()
		}
		if err != nil {
			return err
		}
		subjects = append(subjects, subject{name: one.name, handler: r.gateway, wrap: guard, request: same(browserRequest("GET", one.target, cookie))})
	}
	rounds, err := b.paced(subjects)
	if err != nil {
		return err
	}
	t := table{
		Title:   "Who may do what: a proxied call over loopback sockets",
		Columns: []column{{"p50_us", "p50 µs", 0}, {"added_us", "+ µs", 0}, {"p99_us", "p99 µs", 0}, {"cpu_us", "CPU µs", 1}},
		Notes: []string{fmt.Sprintf("%d requests a second on %d connections; medians of %d rounds in turns. + is to the first row of the same kind; nothing is remembered but where it says so.",
			authzRate, authzConnections, len(rounds[0].p50))},
	}
	for i, r := range rounds {
		base := rounds[0]
		if i >= 2 {
			base = rounds[2]
		}
		t.Rows = append(t.Rows, row{subjects[i].name, []float64{median(r.p50), median(r.p50) - median(base.p50), median(r.p99), median(r.cpu)}})
	}
	b.report.Tables = append(b.report.Tables, t)
	return nil
}

// asksFirst is the least that a program needs that asks about each request: what a
// decision point that far away costs, whoever asks.
func asksFirst(client *http.Client, address string) http.Handler {
	const question = `{"subject":{"type":"user","id":"auth:account:demo:ada"},"action":{"name":"read"},"resource":{"type":"note","id":"7b0d"}}`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := client.Post(address, "application/json", strings.NewReader(question))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		answer(w, r)
	})
}

// paced is overSockets with requests that come at their times.
func (b *bench) paced(subjects []subject) ([]round, error) {
	rounds := make([]round, len(subjects))
	jobs := make([]job, len(subjects))
	requests := max(b.scale.requests/4, authzConnections)
	for i, s := range subjects {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		if s.wrap != nil {
			l = s.wrap(l)
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
		go server.Serve(l)
		defer server.Close()
		jobs[i] = job{
			Addr: l.Addr().String(), Request: onTheWire(s.request(0)), Connections: authzConnections, Requests: requests,
			Pause: int(time.Second/time.Microsecond) * authzConnections / authzRate,
		}
	}
	for n := range b.scale.rounds + 1 {
		for i, s := range subjects {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			before := cpu()
			r, err := b.helper.load(jobs[i])
			used := cpu() - before
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			if n > 0 { // connections, pools and caches are filled
				rounds[i].cpu = append(rounds[i].cpu, micros(used)/float64(requests))
				rounds[i].p50, rounds[i].p99 = append(rounds[i].p50, r.P50), append(rounds[i].p99, r.P99)
			}
		}
	}
	return rounds, nil
}

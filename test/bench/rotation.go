package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"strconv"
	"strings"
	"time"

	"keyway/internal/app"
	"keyway/internal/demo"
	"keyway/internal/testkit/realidp"
)

const (
	// turnRate is how many requests a second come while rotations are measured: some
	// tenth of what the machine can do, so that what shows is what a rotation adds,
	// and not how long a queue before a full machine is.
	turnRate = 2000
	// turnEvery is how often everything is rotated, by who does nothing else.
	turnEvery = 2 * time.Second
	// settled is how long after the last rotation a round without any begins: the
	// guard window, and what is counted and sealed anew after it.
	settled = 1500 * time.Millisecond
	// quickly has a version be over soon, so that all that a rotation does is within
	// a round.
	quickly = "\nrotation: {guard: 1s, skew: 0s}\n"
)

// rotation measures requests while secrets turn, beside requests while none does,
// at the same gateway and in turns. It is the demo: seven kinds of secrets,
// a provider that plays along, sessions on disk. A new client secret is apart: its id
// costs a hash that is slow on purpose (secret.FingerprintOfPeerSecret).
func (b *bench) rotation() error {
	b.say("requests while every secret turns …")
	g, peers, err := b.demo()
	if err != nil {
		return err
	}
	defer peers.Close()
	err = b.turning(g)
	return errors.Join(err, g.stop())
}

// demo starts what `keyway demo` starts, except that the API is the second
// process.
func (b *bench) demo() (*running, *demo.Peers, error) {
	_, upstream, err := net.SplitHostPort(b.helper.upstream)
	if err != nil {
		return nil, nil, err
	}
	dir := b.folder("demo")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, nil, err
	}
	for range 5 { // somebody may take a free port first
		var free []int
		if free, err = freePorts(4); err != nil {
			return nil, nil, err
		}
		ports := demo.Ports{Gateway: free[0], Admin: free[1], IdP: free[2], API: free[3]}
		var peers *demo.Peers
		if peers, err = demo.Start(b.ctx, ports, dir); err != nil {
			continue
		}
		files := demo.Files()
		files["settings.yaml"] = append(files["settings.yaml"], quickly...)
		environ := append(ports.Environ(dir), "DEMO_API_PORT="+upstream)
		for i, e := range environ[:len(environ)-1] {
			if strings.HasPrefix(e, "DEMO_API_PORT=") {
				environ[i] = environ[len(environ)-1]
			}
		}
		var g *running
		if g, err = b.gateway(files, environ, app.Options{Registrars: peers.Registrars()}); err == nil {
			g.public, g.admin = "127.0.0.1:"+strconv.Itoa(ports.Gateway), "127.0.0.1:"+strconv.Itoa(ports.Admin)
			return g, peers, nil
		}
		err = errors.Join(err, peers.Close())
	}
	return nil, nil, err
}

// signInAt signs in at a gateway of the demo, as a browser would, and returns
// what its Cookie field says then.
func (b *bench) signInAt(g *running) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(address string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("User-Agent", userAgent) // a session is bound to it
		resp, err := browser.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	login, err := get("http://" + g.public + "/auth/login?return_to=/")
	if err != nil {
		return "", err
	}
	callback, err := realidp.Walk(browser, login.Header.Get("Location"), map[string]string{"username": "ada", "password": "demo"})
	if err != nil {
		return "", err
	}
	back, err := get(callback)
	if err != nil {
		return "", err
	}
	var pairs []string
	for _, c := range jar.Cookies(back.Request.URL) {
		if strings.Contains(c.Name, "bff_session") {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	if len(pairs) != 1 {
		return "", fmt.Errorf("signing in: expected the cookie of a session, found %d (%s)", len(pairs), back.Status)
	}
	return pairs[0], nil
}

// state is what goes on while requests are measured.
type state struct {
	name    string
	secrets []string // that turn
	once    bool     // in each round, and not each turnEvery
}

// states are compared with the first.
func (b *bench) states(g *running) ([]state, error) {
	var status struct{ Secrets []struct{ Name string } }
	if err := b.ask(g, "GET", "/admin/v1/status", nil, &status); err != nil {
		return nil, err
	}
	var all, own []string
	for _, s := range status.Secrets {
		all = append(all, s.Name)
		if !strings.HasPrefix(s.Name, "client-secret") {
			own = append(own, s.Name)
		}
	}
	return []state{
		{"nothing turns", nil, false}, {"all turns once", all, true},
		{"all but the client secret turns every 2 s", own, false}, {"all turns every 2 s", all, false},
	}, nil
}

// turned is what requests of one kind took, by state and round.
type turned struct {
	name     string
	job      job
	p50, p99 [][]float64 // µs
}

func (b *bench) turning(g *running) error {
	cookie, err := b.signInAt(g)
	if err != nil {
		return err
	}
	states, err := b.states(g)
	if err != nil {
		return err
	}
	kind := func(name, target string) *turned {
		r := browserRequest("GET", target, cookie)
		r.Host = g.public
		r.Header.Set("Referer", "http://"+g.public+"/")
		return &turned{
			name: name, p50: make([][]float64, len(states)), p99: make([][]float64, len(states)),
			job: job{
				Addr: g.public, Request: onTheWire(r), Connections: connections,
				Requests: int(turnRate * b.scale.turning.Seconds()), Pause: connections * int(time.Second/time.Microsecond) / turnRate,
			},
		}
	}
	kinds := []*turned{kind("session check", "/auth/verify"), kind("proxied call", "/api/notes?limit=10")}
	for _, k := range kinds { // connections, pools and caches are filled
		if _, err := b.helper.load(k.job); err != nil {
			return err
		}
	}
	rotated := 0
	for range b.scale.turns {
		for _, k := range kinds {
			for i, s := range states {
				var r result
				done, err := b.whileTurning(g, s, func() error {
					var err error
					r, err = b.helper.load(k.job)
					return err
				})
				if err != nil {
					return fmt.Errorf("%s, %s: %w", k.name, s.name, err)
				}
				rotated += done
				k.p50[i], k.p99[i] = append(k.p50[i], r.P50), append(k.p99[i], r.P99)
			}
		}
	}
	b.report.Tables = append(b.report.Tables, turnedTable(kinds, states, rotated, b.scale))
	return nil
}

// whileTurning has secrets rotated, again and again, while do runs, and returns
// once that has settled: how many rotations there were.
func (b *bench) whileTurning(g *running, s state, do func() error) (int, error) {
	if len(s.secrets) == 0 {
		return 0, do()
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	asked := map[string]bool{}
	go func() {
		for {
			began, err := b.rotate(g, s.secrets...)
			for _, one := range began {
				asked[one.ID] = true
			}
			if err != nil {
				stopped <- err
				return
			}
			next := time.After(turnEvery)
			if s.once {
				next = nil
			}
			select {
			case <-next:
			case <-stop:
				stopped <- nil
				return
			}
		}
	}()
	err := do()
	close(stop)
	if err = errors.Join(err, <-stopped); err != nil {
		return 0, err
	}
	if err := b.outcomes(g, asked); err != nil {
		return 0, err
	}
	return len(asked), b.pause(min(settled, b.scale.turning))
}

func turnedTable(kinds []*turned, states []state, rotated int, s scale) table {
	t := table{
		Title: "A request while secrets turn, beside one while none does (aim: p99 at most 1.1 ×)",
		Columns: []column{
			{"p50_us", "p50 µs", 0}, {"p99_us", "p99 µs", 0}, {"p50_ratio", "p50 ×", 2},
			{"p99_ratio", "p99 ×", 2}, {"p99_low", "from", 2}, {"p99_high", "to", 2},
		},
		Notes: []string{
			fmt.Sprintf("Over loopback sockets, %d requests a second; medians of %d rounds of %v each, in turns; × is to the round before in which nothing turned, from and to are quartiles.",
				turnRate, s.turns, s.turning),
			fmt.Sprintf("Whatever turns does so once in each round, or each %v, by the admin API: %d rotations in all. The provider that has to accept the new ones runs in the measured process.",
				turnEvery, rotated),
		},
	}
	for _, k := range kinds {
		for i, s := range states {
			low, high := none, none
			if i > 0 {
				low, high = ratios(k.p99[i], k.p99[0], .25), ratios(k.p99[i], k.p99[0], .75)
			}
			t.Rows = append(t.Rows, row{k.name + ", " + s.name, []float64{
				median(k.p50[i]), median(k.p99[i]), ratios(k.p50[i], k.p50[0], .5), ratios(k.p99[i], k.p99[0], .5), low, high,
			}})
		}
	}
	return t
}

// ratios is a quantile of the rounds' ratios.
func ratios(of, to []float64, q float64) float64 {
	all := make([]float64, len(of))
	for i := range all {
		all[i] = of[i] / to[i]
	}
	return quantile(all, q)
}

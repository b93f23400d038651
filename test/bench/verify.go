package main

import (
	"fmt"
	"net/http"

	"keyway/internal/session"
	"keyway/internal/session/embedded"
	"keyway/internal/session/memory"
)

// bareOK is the handler that costs least.
var bareOK = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })

// uncachedSessions are used in turns, with a cache that holds none of them.
const uncachedSessions = 2000

// verify measures GET /auth/verify: the session check and nothing else.
func (b *bench) verify() error {
	b.say("session check …")
	plain := browserRequest("GET", "/auth/verify", "")
	subjects := []subject{{name: "bare handler", handler: bareOK, request: same(plain)}}
	stores, closeStores, err := b.stores()
	if err != nil {
		return err
	}
	defer closeStores()
	k, err := makeKeys()
	if err != nil {
		return err
	}
	var onSockets = subjects[:1:1]
	for _, s := range stores {
		r, err := b.replica(s.store, k, options{})
		if err != nil {
			return err
		}
		defer r.close()
		cookie, _, err := r.signIn(b.ctx, record("ada"))
		if err != nil {
			return err
		}
		hot := subject{
			name: s.name + ", just used", handler: r.gateway, wrap: guard,
			request: same(browserRequest("GET", "/auth/verify", cookie)),
		}
		subjects, onSockets = append(subjects, hot), append(onSockets, hot)
	}
	for _, s := range stores {
		r, err := b.replica(s.store, k, options{cache: 1})
		if err != nil {
			return err
		}
		defer r.close()
		cold, err := b.cold(r)
		if err != nil {
			return err
		}
		cold.name = s.name + ", not cached"
		subjects = append(subjects, cold)
	}
	if err := b.verifyInProcess(subjects); err != nil {
		return err
	}
	return b.verifyOverSockets(onSockets)
}

func (b *bench) verifyInProcess(subjects []subject) error {
	results, err := b.inProcess(subjects)
	if err != nil {
		return err
	}
	t := table{
		Title:   "Session check, GET /auth/verify: the handler called in this process",
		Columns: []column{{"ns_op", "ns/op", 0}, {"ratio", "× bare", 1}, {"bytes_op", "B/op", 0}, {"allocs_op", "allocs/op", 0}},
		Notes: []string{
			"just used: within 5 s, so that the cache answers. not cached: read, opened and checked anew.",
			"The bare handler writes a status and nothing else; see below for the ratio that a client meets.",
		},
	}
	for i, r := range results {
		t.Rows = append(t.Rows, row{subjects[i].name, []float64{
			nsPerOp(r), nsPerOp(r) / nsPerOp(results[0]), float64(r.AllocedBytesPerOp()), float64(r.AllocsPerOp()),
		}})
	}
	b.report.Tables = append(b.report.Tables, t)
	return nil
}

func (b *bench) verifyOverSockets(subjects []subject) error {
	rounds, err := b.overSockets(subjects)
	if err != nil {
		return err
	}
	b.report.Tables = append(b.report.Tables, socketTable("Session check, GET /auth/verify: over loopback sockets", subjects, rounds))
	return nil
}

// socketTable compares with the first subject.
func socketTable(title string, subjects []subject, rounds []round) table {
	t := table{
		Title: title,
		Columns: []column{
			{"cpu_us", "CPU µs", 1}, {"ratio", "× bare", 2}, {"ratio_low", "from", 2}, {"ratio_high", "to", 2},
			{"requests_s", "requests/s", 0}, {"p50_us", "p50 µs", 0}, {"p99_us", "p99 µs", 0},
		},
		Notes: []string{fmt.Sprintf("CPU µs: user and system time of this process for a request; load generator and upstream are another. "+
			"%d connections; medians of %d rounds in turns, from and to are their quartiles.", connections, len(rounds[0].cpu))},
	}
	for i, s := range subjects {
		low, middle, high := rounds[i].ratio(rounds[0])
		if i == 0 {
			low, high = none, none
		}
		t.Rows = append(t.Rows, row{s.name, []float64{
			median(rounds[i].cpu), middle, low, high, median(rounds[i].rate), median(rounds[i].p50), median(rounds[i].p99),
		}})
	}
	return t
}

// cold is a subject whose every request is of a session that is not cached.
func (b *bench) cold(r *replica) (subject, error) {
	cookies, err := b.signInMany(r, min(uncachedSessions, b.scale.sessions))
	if err != nil {
		return subject{}, err
	}
	requests := make([]*http.Request, len(cookies))
	for i, c := range cookies {
		requests[i] = browserRequest("GET", "/auth/verify", c)
	}
	return subject{handler: r.gateway, request: func(i int) *http.Request { return requests[i%len(requests)] }}, nil
}

type namedStore struct {
	name  string
	store session.Store
}

// stores are one of each kind.
func (b *bench) stores() (all []namedStore, closeAll func(), err error) {
	closeAll = func() {
		for _, s := range all {
			_ = s.store.Close()
		}
	}
	all = append(all, namedStore{"memory", memory.Open(memory.Options{})})
	file, err := embedded.Open(b.folder("verify-data"))
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	all = append(all, namedStore{"embedded", file})
	if b.redis != nil {
		store, err := b.redis.open(b.ctx, "verify:")
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, namedStore{"Redis", store})
	}
	return all, closeAll, nil
}

// signInMany begins n sessions, many at once: a store on disk writes those that
// come together in one go.
func (b *bench) signInMany(r *replica, n int) ([]string, error) {
	const atOnce = 256
	cookies := make([]string, n)
	errs := make(chan error, atOnce)
	for worker := range atOnce {
		go func() {
			for i := worker; i < n; i += atOnce {
				var err error
				if cookies[i], _, err = r.signIn(b.ctx, record(fmt.Sprint("user-", i))); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var failed error
	for range atOnce {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return cookies, failed
}

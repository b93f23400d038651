package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"keyway/internal/secret"
)

// trips counts what sessions cost Redis, and how long an end takes to get about.
func (b *bench) trips() error {
	if b.redis == nil {
		return nil
	}
	b.say("trips to Redis, and logout on another replica …")
	k, err := makeKeys()
	if err != nil {
		return err
	}
	var replicas [2]*replica
	for i := range replicas {
		store, err := b.redis.open(b.ctx, "trips:")
		if err != nil {
			return err
		}
		defer store.Close()
		if replicas[i], err = b.replica(store, k, options{}); err != nil {
			return err
		}
		defer replicas[i].close()
	}
	commands, seconds, err := b.countTrips(replicas[0])
	if err != nil {
		return err
	}
	total := 0
	var which []string
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		total += commands[name]
		which = append(which, fmt.Sprintf("%s %d", name, commands[name]))
	}
	took, err := b.logouts(replicas[0], replicas[1])
	if err != nil {
		return err
	}
	t := table{
		Title:   "Redis",
		Columns: []column{{"value", "", 2}},
		Rows: []row{
			{"requests with a session that was just used", []float64{float64(b.scale.trips)}},
			{"seconds that they took", []float64{seconds}},
			{"commands that Redis carried out meanwhile (aim: 0)", []float64{float64(total)}},
			{"logout on one replica until the other answers 401, ms, median", []float64{micros(quantile(took, .5)) / 1000}},
			{"the slowest (aim: below 1000)", []float64{micros(quantile(took, 1)) / 1000}},
		},
		Notes: []string{fmt.Sprintf("%d logouts. A session in use costs one GET each 5 s, and one write each eighth of the idle timeout.", len(took))},
	}
	if total > 0 {
		t.Notes = append(t.Notes, "commands: "+strings.Join(which, ", "))
	}
	b.report.Tables = append(b.report.Tables, t)
	return nil
}

// countTrips is what Redis did while requests of one session came.
func (b *bench) countTrips(r *replica) (commands map[string]int, seconds float64, err error) {
	cookie, _, err := r.signIn(b.ctx, record("ada"))
	if err != nil {
		return nil, 0, err
	}
	request := browserRequest("GET", "/auth/verify", cookie)
	if err := drive(r.gateway, request, 1, http.StatusOK); err != nil {
		return nil, 0, err
	}
	before, err := b.redis.commands()
	if err != nil {
		return nil, 0, err
	}
	start := time.Now()
	if err := drive(r.gateway, request, b.scale.trips, http.StatusOK); err != nil {
		return nil, 0, err
	}
	seconds = time.Since(start).Seconds()
	after, err := b.redis.commands()
	for name, n := range after {
		if after[name] = n - before[name]; after[name] == 0 {
			delete(after, name)
		}
	}
	return after, seconds, err
}

// logouts ends sessions on here, and waits until there does not know them any
// more, though they were just used there. The time counts from the beginning of
// the logout.
func (b *bench) logouts(here, there *replica) ([]time.Duration, error) {
	took := make([]time.Duration, 0, b.scale.logouts)
	for range b.scale.logouts {
		rec := record("grace")
		rec.RefreshToken = secret.Value{} // nobody is there to revoke it at
		cookie, s, err := here.signIn(b.ctx, rec)
		if err != nil {
			return nil, err
		}
		check := browserRequest("GET", "/auth/verify", cookie)
		if err := drive(there.gateway, check, 2, http.StatusOK); err != nil {
			return nil, err
		}
		logout := browserRequest("POST", "/auth/logout", cookie)
		logout.Header["X-Csrf-Token"] = []string{here.csrf.Mint(s, time.Now())}
		start := time.Now()
		if err := drive(here.gateway, logout, 1, http.StatusOK); err != nil {
			return nil, err
		}
		for w := newWriter(); ; runtime.Gosched() {
			w.reset()
			if there.gateway.ServeHTTP(w, check); w.status == http.StatusUnauthorized {
				break
			}
			if time.Since(start) > 10*time.Second {
				return nil, errors.New("a session that was ended on one replica was still good on the other after 10 s")
			}
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"keyway/internal/app"
	"keyway/internal/fleet"
	"keyway/internal/rotation"
)

const (
	fleetSize = 3
	// manyReplicas is the fleet that is computed.
	manyReplicas = 1000
	// leaseEvery is how often the one replica that leads renews its lease at most: each
	// third of the six seconds that it is good for (leaseFor in internal/app).
	leaseEvery = 2 * time.Second
)

// inward are secrets that Keyway makes itself and no peer has to accept.
var inward = []string{"session-key", "csrf-key", "state-key", "ua-hash-salt"}

// fleet measures three replicas on one Redis: what they write when nothing is
// under way, and how soon all of them issue with a version that was asked for.
func (b *bench) fleet() error {
	if b.redis == nil {
		return nil
	}
	b.say("three replicas on one Redis …")
	replicas, stop, err := b.threeReplicas()
	if err != nil {
		return err
	}
	err = b.measureFleet(replicas)
	return errors.Join(err, stop())
}

func (b *bench) threeReplicas() (replicas []*running, stop func() error, err error) {
	stop = func() error {
		var all []error
		for _, r := range replicas {
			all = append(all, r.stop())
		}
		return errors.Join(all...)
	}
	// A fleet that has just begun turns nothing until everybody has had the time to
	// be heard. This one has been there for long.
	if _, err := b.redis.do("SET keyway:f:{fleet}:since 1"); err != nil {
		return nil, nil, err
	}
	salt := rand.Text() + rand.Text()
	for i := range fleetSize {
		dir := b.folder("fleet-" + strconv.Itoa(i))
		r, err := b.gateway(map[string][]byte{"settings.yaml": []byte("secrets: managed" + quickly)}, []string{
			"HOST=127.0.0.1", "PORT=0", "BFF_ADMIN_ADDR=127.0.0.1:0", "BFF_KEYS_DIR=" + filepath.Join(dir, "keys"),
			"BFF_SECRETS_DIR=" + filepath.Join(dir, "secrets"), "REDIS_URL=redis://" + b.redis.addr, "TOKEN_HASH_SALT=" + salt,
		}, app.Options{})
		if err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		replicas = append(replicas, r)
	}
	return replicas, stop, nil
}

func (b *bench) measureFleet(replicas []*running) error {
	if err := b.together(replicas); err != nil {
		return err
	}
	writes, err := b.atRest()
	if err != nil {
		return err
	}
	b.report.Tables = append(b.report.Tables, writes)
	var everywhere, active []float64
	for i := range b.scale.rotations {
		all, first, err := b.timeRotation(replicas, replicas[i%len(replicas)], inward[i%len(inward)])
		if err != nil {
			return err
		}
		everywhere, active = append(everywhere, all.Seconds()), append(active, first.Seconds())
	}
	b.report.Tables = append(b.report.Tables, table{
		Title:   fmt.Sprintf("From `rotate` to active: an inward secret, %d replicas on one Redis", fleetSize),
		Columns: []column{{"median_s", "median s", 2}, {"worst_s", "slowest s", 2}},
		Rows: []row{
			{"until every replica issues with it (aim: below 2)", []float64{median(everywhere), quantile(everywhere, 1)}},
			{"until one does", []float64{median(active), quantile(active, 1)}},
		},
		Notes: []string{fmt.Sprintf("%d rotations, one after the other, of %s, asked of each replica in turn.", len(everywhere), strings.Join(inward, ", "))},
	})
	return nil
}

// together waits until every replica has heard of all, and one leads.
func (b *bench) together(replicas []*running) error {
	for deadline := time.Now().Add(patience); ; {
		ready := 0
		for _, r := range replicas {
			var status struct {
				Leader   string
				Replicas []struct{ Live bool }
			}
			if err := b.ask(r, "GET", "/admin/v1/status", nil, &status); err != nil {
				return err
			}
			if status.Leader != "" && len(status.Replicas) == len(replicas) {
				ready++
			}
		}
		if ready == len(replicas) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("the replicas did not find each other")
		}
		if err := b.pause(20 * time.Millisecond); err != nil {
			return err
		}
	}
}

// pause returns early, with an error, when the run ends.
func (b *bench) pause(d time.Duration) error {
	select {
	case <-time.After(d):
	case <-b.ctx.Done():
	}
	return b.ctx.Err()
}

// atRest counts what replicas write while nothing is under way. A report is one
// HSET, in a script; other entries of the board (the lease) are one SET.
func (b *bench) atRest() (table, error) {
	if err := b.pause(b.scale.settle); err != nil {
		return table{}, err
	}
	before, err := b.redis.commands()
	if err != nil {
		return table{}, err
	}
	start := time.Now()
	if err := b.pause(b.scale.rest); err != nil {
		return table{}, err
	}
	after, err := b.redis.commands()
	if err != nil {
		return table{}, err
	}
	seconds := time.Since(start).Seconds()
	in := func(command string) float64 { return float64(after[command] - before[command]) }
	reports := in("hset")
	entries := in("set") - reports // each report has one that does nothing (SET … NX)
	scripts := in("evalsha") + in("eval")
	reads := in("get") + scripts - reports - entries
	each := func(n float64) float64 { return n / seconds / fleetSize }
	computed := func(n int) []float64 {
		said := 1 / fleet.KeepAlive(n).Seconds()
		led := 1 / leaseEvery.Seconds() / float64(n)
		return []float64{said, led, said + led, float64(n) * (said + led), none}
	}
	return table{
		Title: "Writes for what the fleet knows, nothing under way, a second and replica",
		Columns: []column{
			{"reports_s", "reports", 4}, {"entries_s", "lease", 4}, {"writes_s", "writes", 4}, {"all_s", "of all replicas", 2}, {"reads_s", "reads", 1},
		},
		Rows: []row{
			{fmt.Sprintf("%d replicas, measured", fleetSize), []float64{
				each(reports), each(entries), each(reports + entries), (reports + entries) / seconds, each(reads),
			}},
			{fmt.Sprintf("%d replicas, computed", fleetSize), computed(fleetSize)},
			{fmt.Sprintf("%d replicas, computed", manyReplicas), computed(manyReplicas)},
		},
		Notes: []string{fmt.Sprintf("Measured by what Redis carried out in %.0f s. reports: what a replica holds, and that it lives (fleet.KeepAlive). "+
			"lease: renewed by the one that leads, at most every %v, as computed.", seconds, leaseEvery)},
	}, nil
}

// timeRotation has a secret rotated by one replica. It returns how long it took
// until all replicas, and until the first of them, had the new version in use.
func (b *bench) timeRotation(replicas []*running, asked *running, name string) (everywhere, first time.Duration, err error) {
	start := time.Now()
	began, err := b.rotate(asked, name)
	if err != nil {
		return 0, 0, err
	}
	if len(began) != 1 || began[0].To == "" || began[0].Outcome != "" && began[0].Outcome != rotation.OutcomeActive {
		return 0, 0, fmt.Errorf("rotation of %s: expected one to begin, found %+v", name, began)
	}
	waiting := replicas
	for len(waiting) > 0 {
		if time.Since(start) > patience {
			return 0, 0, fmt.Errorf("rotation of %s: not in use on all replicas within %v", name, patience)
		}
		var still []*running
		for _, r := range waiting {
			uses, err := b.issuesWith(r, name, began[0].To)
			switch {
			case err != nil:
				return 0, 0, err
			case !uses:
				still = append(still, r)
			case first == 0:
				first = time.Since(start)
			}
		}
		if waiting = still; len(waiting) > 0 {
			if err := b.pause(5 * time.Millisecond); err != nil {
				return 0, 0, err
			}
		}
	}
	everywhere = time.Since(start)
	return everywhere, first, b.outcomes(asked, map[string]bool{began[0].ID: true})
}

// issuesWith asks a replica's metrics whether a version is its active one. That is
// what it serves with, and asking costs the store nothing.
func (b *bench) issuesWith(r *running, name, version string) (bool, error) {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, "http://"+r.admin+"/metrics", nil)
	if err != nil {
		return false, err
	}
	resp, err := operator.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	found := false
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		found = found || strings.HasPrefix(line, "bff_secret_version_info{") && strings.Contains(line, `secret="`+name+`"`) &&
			strings.Contains(line, `version="`+version+`"`) && strings.Contains(line, `state="active"`)
	}
	return found, lines.Err()
}

// Command bench measures what the gateway costs, as ratios that are taken in
// one run on one machine: beside a bare handler, a bare
// httputil.ReverseProxy, and an empty store.
//
//	go run ./test/bench [-json] [-quick] [-only verify,proxy,authz,redis,rotation,fleet,memory]
//
// It is a benchmark and not a test: it passes whatever comes out. It talks to
// loopback only, starts a redis-server of its own if there is one, and takes
// some minutes on two cores. What the numbers mean is in
// docs/reference/performance.md.
//
// What is measured is this process: the load generator and the upstream are a
// second process (see [helper]), so that user and system time of this one are
// those of the gateway, or of what it is compared with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/session"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == helperArg {
		if err := runHelper(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench: the second process:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		stop()
		os.Exit(1)
	}
}

// sections are what can be measured, in the order of the report.
var sections = []struct {
	name    string
	measure func(*bench) error
}{
	{"verify", (*bench).verify},
	{"proxy", (*bench).proxy},
	{"authz", (*bench).authz},
	{"redis", (*bench).trips},
	{"rotation", (*bench).rotation},
	{"fleet", (*bench).fleet},
	{"memory", (*bench).memory}, // it fills the Redis, so it is last
}

// bench is one run.
type bench struct {
	ctx    context.Context // ends the run early; a run is one call
	dir    string          // for files; gone afterwards
	scale  scale
	helper *helper
	redis  *redisServer // nil: not installed
	report report
	say    func(format string, args ...any) // progress
}

// scale is how much of everything is done.
type scale struct {
	benchtime time.Duration // of one in-process measurement
	repeat    int           // how often each is taken; the best counts
	rounds    int           // of requests over sockets, alternating
	requests  int           // in one round
	trips     int
	logouts   int
	sessions  int // in the memory section

	turns     int           // rounds of requests with rotations and without
	turning   time.Duration // of one such round
	rotations int           // that are timed on three replicas
	rest      time.Duration // for how long writes of a fleet at rest are counted
	settle    time.Duration // before that
}

var (
	full = scale{
		benchtime: 200 * time.Millisecond, repeat: 3, rounds: 9, requests: 6000, trips: 10_000, logouts: 50, sessions: 100_000,
		turns: 5, turning: 10 * time.Second, rotations: 20, rest: 30 * time.Second, settle: 5 * time.Second,
	}
	quick = scale{
		benchtime: 10 * time.Millisecond, repeat: 1, rounds: 2, requests: 200, trips: 500, logouts: 3, sessions: 400,
		turns: 1, turning: 300 * time.Millisecond, rotations: 2, rest: 500 * time.Millisecond,
	}
)

// ballast is heap that is held all the time, as much as the cache of a gateway in
// use holds. Without it this process would collect garbage every 4 MB, which
// costs most where most is allocated: that would flatter us beside a bare proxy,
// which makes a buffer of 32 kB for each response.
const ballast = session.DefaultCacheBytes

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	asJSON := flags.Bool("json", false, "print JSON instead of tables")
	quickly := flags.Bool("quick", false, "a few requests of everything, to see that it runs; the figures mean nothing")
	only := flags.String("only", "", "measure only these, comma-separated: verify, proxy, authz, redis, rotation, fleet, memory")
	profile := flags.String("cpuprofile", "", "measure nothing, but write a CPU profile of what -only names (verify, proxy, public or bare) to this `file`, and one of allocations beside it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := choose(*only)
	if err != nil && *profile == "" {
		return err
	}
	b := &bench{ctx: ctx, scale: full, report: newReport()}
	if *quickly {
		b.scale = quick
	}
	b.say = func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	testing.Init() // registers flags, on which testing.Benchmark depends
	if err := flag.Set("test.benchtime", b.scale.benchtime.String()); err != nil {
		return err
	}
	defer runtime.KeepAlive(make([]byte, ballast))
	if b.dir, err = os.MkdirTemp("", "keyway-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.helper, err = startHelper(ctx); err != nil {
		return err
	}
	defer b.helper.close()
	if b.redis, err = startRedis(ctx, b.dir); err != nil {
		return err
	}
	if b.redis == nil {
		b.say("redis-server is not installed: what needs it is left out (`make parts` installs it)")
		b.report.Notes = append(b.report.Notes, "redis-server is not installed; its rows are left out")
	} else {
		defer b.redis.close()
	}
	if *profile != "" {
		return b.profile(*profile, *only)
	}
	for _, s := range sections {
		if !slices.Contains(wanted, s.name) {
			continue
		}
		if err := errors.Join(ctx.Err(), s.measure(b)); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if *asJSON {
		return b.report.json(out)
	}
	return b.report.text(out)
}

func choose(only string) ([]string, error) {
	var known []string
	for _, s := range sections {
		known = append(known, s.name)
	}
	if only == "" {
		return known, nil
	}
	wanted := strings.Split(only, ",")
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return nil, fmt.Errorf("-only: expected some of %s, found %q", strings.Join(known, ", "), w)
		}
	}
	return wanted, nil
}

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sort"
	"syscall"
	"testing"
	"time"
)

// connections is how many requests are under way at once over sockets: enough
// that both processes always have something to do. With few the price of waking
// a process that sleeps is counted too, and it is higher for whoever is slower.
const connections = 32

// quantile is the value below which the share q of all lies. It sorts all.
func quantile[T cmp.Ordered](all []T, q float64) T {
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// cpu is what this process has used so far, user and system, of all threads.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writer is a ResponseWriter that can be used again, so that what is measured is
// the handler's own allocations.
type writer struct {
	header http.Header
	status int
	bytes  int
}

func newWriter() *writer { return &writer{header: http.Header{}} }

func (w *writer) reset() {
	clear(w.header)
	w.status, w.bytes = 0, 0
}

func (w *writer) Header() http.Header  { return w.header }
func (w *writer) WriteHeader(code int) { w.status = cmp.Or(w.status, code) }
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.bytes += len(p)
	return len(p), nil
}

// deadlines that a real writer would have.
func (w *writer) SetReadDeadline(time.Time) error  { return nil }
func (w *writer) SetWriteDeadline(time.Time) error { return nil }

// subject is one thing that is measured, in process and over sockets.
type subject struct {
	name    string
	handler http.Handler
	request func(i int) *http.Request // the i-th; may be the same again
	wrap    func(net.Listener) net.Listener
}

// inProcess calls the handlers, in turns, and keeps the best of each: what
// disturbs a measurement only ever adds.
func (b *bench) inProcess(subjects []subject) ([]testing.BenchmarkResult, error) {
	best := make([]testing.BenchmarkResult, len(subjects))
	for range b.scale.repeat {
		for i, s := range subjects {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			r, err := call(s)
			if err != nil {
				return nil, err
			}
			if best[i].N == 0 || nsPerOp(r) < nsPerOp(best[i]) {
				best[i] = r
			}
		}
	}
	return best, nil
}

// call is one measurement of a handler.
func call(s subject) (testing.BenchmarkResult, error) {
	var failed error
	r := testing.Benchmark(func(tb *testing.B) {
		tb.ReportAllocs()
		w := newWriter()
		for i := range tb.N {
			w.reset()
			r := s.request(i)
			r.Body = http.NoBody // a handler may have wrapped it
			s.handler.ServeHTTP(w, r)
			if w.status != http.StatusOK {
				failed = fmt.Errorf("%s: expected 200, found %d", s.name, w.status)
				tb.FailNow()
			}
		}
	})
	if r.N == 0 && failed == nil {
		failed = fmt.Errorf("%s: nothing was measured", s.name)
	}
	return r, failed
}

func nsPerOp(r testing.BenchmarkResult) float64 {
	return float64(r.T.Nanoseconds()) / float64(max(1, r.N))
}

// round is what one subject cost over sockets.
type round struct {
	cpu  []float64 // µs of this process's CPU for a request, of each round
	rate []float64 // requests a second
	p50  []float64
	p99  []float64
}

// overSockets serves each subject on a listener of its own, and has rounds of
// requests sent to them in turns, so that whatever else the machine does meets
// all of them.
func (b *bench) overSockets(subjects []subject) ([]round, error) {
	rounds := make([]round, len(subjects))
	jobs := make([]job, len(subjects))
	for i, s := range subjects {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		if s.wrap != nil {
			l = s.wrap(l)
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
		go server.Serve(l)
		defer server.Close()
		jobs[i] = job{Addr: l.Addr().String(), Request: onTheWire(s.request(0)), Connections: connections, Requests: b.scale.requests}
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
			if n == 0 {
				continue // connections, pools and caches are filled
			}
			requests := float64(b.scale.requests)
			rounds[i].cpu = append(rounds[i].cpu, micros(used)/requests)
			rounds[i].rate = append(rounds[i].rate, requests/r.Seconds)
			rounds[i].p50 = append(rounds[i].p50, r.P50)
			rounds[i].p99 = append(rounds[i].p99, r.P99)
		}
	}
	return rounds, nil
}

// ratio is how many times as much CPU r took as other: the median of the
// rounds' own ratios, and the quarter below and above it.
func (r round) ratio(other round) (low, middle, high float64) {
	ratios := make([]float64, len(r.cpu))
	for i := range ratios {
		ratios[i] = r.cpu[i] / other.cpu[i]
	}
	return quantile(ratios, .25), quantile(ratios, .5), quantile(ratios, .75)
}

func median(all []float64) float64 { return quantile(slices.Clone(all), .5) }

// onTheWire writes a request in HTTP/1.1's own form (RFC 9112 section 3).
func onTheWire(r *http.Request) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// drive calls a handler n times, or says what it answered.
func drive(h http.Handler, r *http.Request, n, want int) error {
	w := newWriter()
	for range n {
		w.reset()
		r.Body = http.NoBody
		h.ServeHTTP(w, r)
		if w.status != want {
			return fmt.Errorf("%s: expected %d, found %d", r.URL.Path, want, w.status)
		}
	}
	return nil
}

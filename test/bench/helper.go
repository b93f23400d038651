package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// helperArg makes this program the second process.
const helperArg = "second-process"

// answerBody is what the upstream answers with: a small JSON document.
const answerBody = `{"notes":[{"id":"7b0d","title":"Milk, bread","done":false},{"id":"91ce","title":"Call Grace","done":true}],"next":null}`

// helper is the second process, seen from the first: an upstream and a load
// generator, whose CPU time must not count.
type helper struct {
	upstream string // host:port
	cmd      *exec.Cmd
	in       io.WriteCloser
	jobs     *json.Encoder
	results  *json.Decoder
}

// job is one round of requests.
type job struct {
	Addr        string `json:"addr"`
	Request     []byte `json:"request"` // as it goes over the wire
	Connections int    `json:"connections"`
	Requests    int    `json:"requests"` // in all
	// Pause is how long after one request of a connection its next one is due, in µs;
	// 0: as soon as that is answered.
	Pause int `json:"pause,omitempty"`
}

// result is what came of it.
type result struct {
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50"` // µs
	P99     float64 `json:"p99"`
	Error   string  `json:"error,omitempty"`
}

func startHelper(ctx context.Context) (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h := &helper{cmd: exec.CommandContext(ctx, self, helperArg)}
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	h.jobs, h.results = json.NewEncoder(h.in), json.NewDecoder(out)
	if err := h.results.Decode(&h.upstream); err != nil {
		h.close()
		return nil, fmt.Errorf("the second process did not say where its upstream is: %w", err)
	}
	return h, nil
}

// close ends the process: it stops when its standard input does.
func (h *helper) close() {
	_ = h.in.Close()
	_ = h.cmd.Wait()
}

// load has the requests sent, and returns when all are answered.
func (h *helper) load(j job) (result, error) {
	var r result
	if err := h.jobs.Encode(j); err != nil {
		return r, err
	}
	if err := h.results.Decode(&r); err != nil {
		return r, fmt.Errorf("the second process ended: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// runHelper is the second process.
func runHelper(in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(answer)}
	go server.Serve(l)
	defer server.Close()
	results := json.NewEncoder(out)
	if err := results.Encode(l.Addr().String()); err != nil {
		return err
	}
	for jobs := json.NewDecoder(in); ; {
		var j job
		if err := jobs.Decode(&j); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r, err := j.run()
		if err != nil {
			r.Error = err.Error()
		}
		if err := results.Encode(r); err != nil {
			return err
		}
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == decisionPath {
		decide(w, r)
		return
	}
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(answerBody))}
	_, _ = io.WriteString(w, answerBody)
}

// run sends the requests, each connection one after the other.
func (j job) run() (result, error) {
	type outcome struct {
		took []time.Duration
		err  error
	}
	outcomes := make(chan outcome, j.Connections)
	start := time.Now()
	for i := range j.Connections {
		n := j.Requests / j.Connections
		if i < j.Requests%j.Connections {
			n++
		}
		go func() {
			took, err := j.connection(n, i)
			outcomes <- outcome{took, err}
		}()
	}
	var all []time.Duration
	var errs []error
	for range j.Connections {
		o := <-outcomes
		all, errs = append(all, o.took...), append(errs, o.err)
	}
	r := result{Seconds: time.Since(start).Seconds()}
	if len(all) > 0 {
		r.P50, r.P99 = micros(quantile(all, .5)), micros(quantile(all, .99))
	}
	return r, errors.Join(errs...)
}

func (j job) connection(n, place int) ([]time.Duration, error) {
	c, err := net.DialTimeout("tcp", j.Addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	took := make([]time.Duration, 0, n)
	pause := time.Duration(j.Pause) * time.Microsecond
	due := time.Now().Add(pause * time.Duration(place) / time.Duration(j.Connections))
	for r := bufio.NewReader(c); len(took) < n; due = due.Add(pause) {
		start := j.await(due)
		if _, err := c.Write(j.Request); err != nil {
			return took, err
		}
		if err := readAnswer(r); err != nil {
			return took, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// await waits until a request is due, and returns when its time begins: now, or,
// if the one before was answered too late for it, when it was due. A gateway that
// pauses keeps many waiting, not only one for each connection.
func (j job) await(due time.Time) time.Time {
	if j.Pause == 0 {
		return time.Now()
	}
	wait := time.Until(due)
	if wait <= 0 {
		return due
	}
	time.Sleep(wait)
	return time.Now()
}

// readAnswer reads one response of known length, and wants it to be a 200.
// http.ReadResponse would take CPU from what is measured.
func readAnswer(r *bufio.Reader) error {
	length, first := -1, true
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := string(line[:max(0, len(line)-2)])
		const prefix = "Content-Length: "
		switch {
		case first:
			if text != "HTTP/1.1 200 OK" {
				return fmt.Errorf("expected 200 OK, found %q", text)
			}
			first = false
		case text == "" && length < 0:
			return errors.New("expected a response with Content-Length")
		case text == "":
			_, err := r.Discard(length)
			return err
		case len(text) > len(prefix) && text[:len(prefix)] == prefix:
			if length, err = strconv.Atoi(text[len(prefix):]); err != nil {
				return err
			}
		}
	}
}

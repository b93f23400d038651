package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"keyway/internal/app"
	"keyway/internal/config"
	"keyway/internal/rotation"
)

// patience bounds what should take a second or two.
const patience = time.Minute

// running is a gateway as `keyway serve` runs it, in this process.
type running struct {
	public, admin string // host:port
	stop          func() error
}

// gateway starts one from its configuration files and environment, and returns
// when it is ready.
func (b *bench) gateway(files map[string][]byte, environ []string, o app.Options) (*running, error) {
	c, err := config.LoadFiles("bench", files, environ)
	if err != nil {
		return nil, err
	}
	log, f, err := nullLog(slog.LevelInfo)
	if err != nil {
		return nil, err
	}
	ready, ended := make(chan app.Addresses, 1), make(chan error, 1)
	o.Config, o.Log = c, log
	o.Ready = func(at app.Addresses) { ready <- at }
	o.Env = func(name string) (string, bool) {
		for _, e := range environ {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
	ctx, cancel := context.WithCancel(b.ctx)
	go func() {
		defer f.Close()
		ended <- app.Run(ctx, o)
	}()
	r := &running{stop: func() error { cancel(); return <-ended }}
	select {
	case at := <-ready:
		r.public, r.admin = at.Public, at.Admin
		return r, nil
	case err := <-ended:
		cancel()
		return nil, fmt.Errorf("a gateway was refused its start: %w", err)
	case <-time.After(patience):
		return nil, errors.Join(errors.New("a gateway was not ready in time"), r.stop())
	}
}

var operator = &http.Client{Timeout: patience}

// ask calls the admin API. The answer goes into what into points to.
func (b *bench) ask(r *running, method, path string, question, into any) error {
	var body io.Reader = http.NoBody
	if question != nil {
		text, err := json.Marshal(question)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(b.ctx, method, "http://"+r.admin+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := operator.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return json.Unmarshal(text, into)
}

type rotations struct{ Rotations []rotation.Rotation }

// rotate asks for rotations of secrets.
func (b *bench) rotate(r *running, secrets ...string) ([]rotation.Rotation, error) {
	var got rotations
	err := b.ask(r, "POST", "/admin/v1/rotations", map[string]any{"secrets": secrets}, &got)
	return got.Rotations, err
}

// outcomes waits until rotations are over. Each must have brought its version
// into use.
func (b *bench) outcomes(r *running, asked map[string]bool) error {
	for id := range asked {
		for deadline := time.Now().Add(patience); ; {
			var got rotations
			if err := b.ask(r, "GET", "/admin/v1/rotations?wait=10&id="+id, nil, &got); err != nil {
				return err
			}
			if len(got.Rotations) != 1 {
				return fmt.Errorf("rotation %s: expected to hear of it, heard of %d", id, len(got.Rotations))
			}
			one := got.Rotations[0]
			if one.Outcome == rotation.OutcomeActive {
				break
			}
			if one.Outcome != "" || time.Now().After(deadline) {
				return fmt.Errorf("rotation of %s: expected the new version to become active, found outcome %q, waiting for %q", one.Secret, one.Outcome, one.Waiting)
			}
		}
	}
	return nil
}

// freePorts are not in use now.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"keyway/internal/app"
	"keyway/internal/config"
	"keyway/internal/demo"
	"keyway/internal/telemetry"
)

func newDemoCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: gateway, identity provider, API and page in one process",
		Long: `Run everything in one process on loopback: the gateway (--port), its admin side
(the next port), a demo identity provider (the one after) and a demo API (the
last of four). Nothing to set up, nothing kept: keys and sessions go when it ends.`,
		Args: exactly(0, "no arguments"),
	}
	port := portFlag(8000)
	cmd.Flags().Var(&port, "port", "first of four ports in a row")
	verbose := cmd.Flags().Bool("verbose", false, "log every request")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ports, err := demo.PortsFrom(int(port))
		if err != nil {
			return usage("%v", err)
		}
		level := slog.LevelWarn
		if *verbose {
			level = slog.LevelInfo
		}
		err = runDemo(cmd.Context(), s, ports, level)
		if e, ok := errors.AsType[*app.ListenError](err); ok {
			err = fmt.Errorf("the demo needs the ports %d to %d: %s; choose others with --port", ports.Gateway, ports.API, e.Reason())
		}
		if err != nil {
			return &exitError{exitNotSo, err}
		}
		return nil
	}
	return cmd
}

// portFlag is a port on the command line.
type portFlag int

func (p *portFlag) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return errors.New("expected a number")
	}
	*p = portFlag(n)
	return nil
}

func (p *portFlag) String() string { return strconv.Itoa(int(*p)) }
func (p *portFlag) Type() string   { return "number" }

func runDemo(ctx context.Context, s *streams, ports demo.Ports, level slog.Level) (err error) {
	// Closing its terminal must not leave keys and sessions behind.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	sweepDemos(os.TempDir())
	dir, err := os.MkdirTemp("", fmt.Sprintf("keyway-demo-%d-", os.Getpid()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	environ := ports.Environ(dir)
	cfg, err := config.LoadFiles("demo", demo.Files(), environ)
	if err != nil {
		return err
	}
	all, err := telemetry.NewLogger(s.stderr, "text", "info")
	if err != nil {
		return err
	}
	log := newDemoLog(all.Handler(), level, s.stderr)
	divertStandardLog(log)
	started := time.Now()
	peers, err := demo.Start(ctx, ports, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peers.Close()) }()
	load := demo.NewLoad(ports)
	defer load.Stop()
	return app.Run(ctx, app.Options{
		Config: cfg, Env: lookup(environ), Log: log, Registrars: peers.Registrars(), Load: load,
		Ready: func(app.Addresses) { welcome(s.stdout, ports, demo.PoliciesFolder(dir), time.Since(started)) },
	})
}

func welcome(w io.Writer, p demo.Ports, policies string, took time.Duration) {
	admin := ""
	if p.Admin != defaultAdminPort {
		admin = fmt.Sprintf(" --admin http://127.0.0.1:%d", p.Admin)
	}
	fmt.Fprintf(w, `Keyway demo, ready in %.1f s. Ctrl-C ends it, and keeps nothing.

  Console    http://127.0.0.1:%d
             every secret, and what happens to it: start the load, rotate everything, watch
  Open       http://localhost:%d
  Sign in    ada or grace, password demo
  Try        call the API, watch the stream, look for your tokens in the browser
  Rotate     %s rotate --all --wait%s
             in another terminal: every key changes, you stay signed in, the stream goes on

  Gateway            http://localhost:%d
  Metrics            http://127.0.0.1:%d/metrics
  Identity provider  http://127.0.0.1:%d
  API                http://127.0.0.1:%d
  Our public keys    http://localhost:%d/.well-known/jwks.json
  Who may do what    %s: change a file, and it holds within a second
`, took.Seconds(), p.Admin, p.Gateway, typed(os.Args[0]), admin, p.Gateway, p.Admin, p.IdP, p.API, p.Gateway, policies)
}

// typed is how the program is called in another terminal by who has started it as
// argv0: go run leaves it in a folder that nobody has in PATH.
func typed(argv0 string) string {
	if strings.Contains(argv0, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/keyway"
	}
	return argv0
}

// defaultAdminPort is where the commands look for a gateway unless they are told.
const defaultAdminPort = 8001

// sweepDemos removes the folders of demos that were killed: there are keys in
// them, of no use to anybody.
func sweepDemos(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "keyway-demo-*-*"))
	for _, path := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), "keyway-demo-"), "-")
		if n, err := strconv.Atoi(pid); err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			_ = os.RemoveAll(path) // another user's stays
		}
	}
}

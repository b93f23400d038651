package cli

import (
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"keyway/internal/app"
	"keyway/internal/telemetry"
)

func newServeCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Run the gateway, with a configuration directory or with the environment alone.

It stops on SIGTERM or SIGINT: readiness turns first, streams are ended, and
requests under way have BFF_SHUTDOWN_GRACE to finish. A second signal ends it at
once. SIGHUP has it read again, now, all secrets that are handed in; it sees by
itself when one changes, so that is for the impatient.`,
		Args: exactly(0, "no arguments"),
	}
	dir := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, problems, err := loadConfig(s, *dir)
		if err != nil {
			return err
		}
		if len(problems) > 0 {
			if err := printCheck(s.stderr, nil, checkAnswer{Problems: problems}); err != nil {
				return err
			}
			return notSo()
		}
		log, err := telemetry.NewLogger(s.stderr, c.Log.Format, c.Log.Level)
		if err != nil {
			return usage("%v", err)
		}
		divertStandardLog(log)
		for _, note := range c.Notes {
			log.Warn("configuration: " + note.Error())
		}
		reload, stop := onHangup()
		defer stop()
		if err := app.Run(cmd.Context(), app.Options{Config: c, Env: lookup(s.environ), Log: log, Reload: reload}); err != nil {
			return &exitError{exitNotSo, err}
		}
		return nil
	}
	return cmd
}

// onHangup turns SIGHUP into something that a gateway can wait for.
func onHangup() (reload <-chan struct{}, stop func()) {
	signals, asked, done := make(chan os.Signal, 1), make(chan struct{}, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-signals:
			}
			select {
			case asked <- struct{}{}:
			default: // it is going to be read anyway
			}
		}
	}()
	return asked, func() { signal.Stop(signals); close(done) }
}

// lookup is os.LookupEnv for an environment that was handed over. As for the
// process itself, the last of several values counts.
func lookup(environ []string) func(string) (string, bool) {
	vars := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			vars[name] = value
		}
	}
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

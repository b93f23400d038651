package cli

import (
	"strings"

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
once.`,
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
		if err := app.Run(cmd.Context(), app.Options{Config: c, Env: lookup(s.environ), Log: log}); err != nil {
			return &exitError{exitNotSo, err}
		}
		return nil
	}
	return cmd
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

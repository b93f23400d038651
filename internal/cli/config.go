package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"keyway/internal/app"
	"keyway/internal/config"

	"github.com/spf13/cobra"
)

func newConfigCommand(s *streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Check a configuration, or print its schema",
	}, newConfigCheckCommand(s), newConfigSchemaCommand(s))
}

// checkAnswer is config check --json.
type checkAnswer struct {
	OK       bool             `json:"ok"`
	Files    []string         `json:"files,omitempty"`
	Services int              `json:"services"`
	Routes   int              `json:"routes"`
	IdPs     int              `json:"idps"`
	Problems []config.Problem `json:"problems"`
	Notes    []config.Problem `json:"notes"`
}

func newConfigCheckCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report everything that is wrong with a configuration",
		Long: `Read the four YAML files of the configuration directory and the environment, as
'keyway serve' would, and report every problem at once. Nothing is started,
opened or written; secrets are not read. The folder of policies is read, if pdp.yaml
names one that is here, and the mappings are held against its schema.

Exit code 0: valid. 1: it has problems. 2: the directory is not there.`,
		Example: "  keyway config check --config ./config\n  keyway config check --json",
		Args:    exactly(0, "no arguments"),
	}
	dir, asJSON := configFlag(cmd), jsonFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, problems, err := loadConfig(s, *dir)
		if err != nil {
			return err
		}
		a := checkAnswer{OK: len(problems) == 0, Problems: orEmpty(problems), Notes: []config.Problem{}}
		if cfg != nil {
			a.Files, a.Notes = cfg.Files, orEmpty(cfg.Notes)
			wrong, notes := app.CheckPolicies(cfg)
			a.OK, a.Problems, a.Notes = len(wrong) == 0, orEmpty(wrong), append(a.Notes, notes...)
			a.Services, a.Routes, a.IdPs = len(cfg.Services), len(cfg.Routes.Routes()), len(cfg.IdPs)
		}
		if *asJSON {
			err = printJSON(s.stdout, a)
		} else {
			err = printCheck(s.stdout, cfg, a)
		}
		if err == nil && !a.OK {
			err = notSo()
		}
		return err
	}
	return cmd
}

// loadConfig loads a configuration; a directory that is not there is a wrong
// call, anything wrong inside is a list of problems.
func loadConfig(s *streams, dir string) (*config.Config, []config.Problem, error) {
	cfg, err := config.Load(config.Options{Dir: dir, Environ: s.environ})
	if inv, ok := errors.AsType[*config.InvalidError](err); ok {
		return nil, inv.Problems, nil
	}
	if errors.Is(err, config.ErrNoDir) {
		return nil, nil, usage("%w", err)
	}
	return cfg, nil, err
}

func printCheck(w io.Writer, cfg *config.Config, a checkAnswer) error {
	var b strings.Builder
	if a.OK {
		from := "the environment alone"
		if len(cfg.Files) > 0 {
			from = cfg.Dir + " (" + strings.Join(cfg.Files, ", ") + ")"
		}
		fmt.Fprintf(&b, "Valid: %s: %s, %s, %s.\n", from,
			count(a.Services, "service"), count(a.Routes, "route"), count(a.IdPs, "entry of idps.yaml", "entries of idps.yaml"))
	} else {
		writeProblems(&b, a.Problems)
		fmt.Fprintf(&b, "\n%s. Correct what is listed, and run 'keyway config check' again.\n", count(len(a.Problems), "problem"))
	}
	if len(a.Notes) > 0 {
		fmt.Fprintf(&b, "\n%s, allowed but worth a look:\n", count(len(a.Notes), "note"))
		writeProblems(&b, a.Notes)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeProblems writes an aligned list: where, then what and what would be right.
func writeProblems(b *strings.Builder, list []config.Problem) {
	width := 0
	for _, p := range list {
		width = max(width, len(p.Where()))
	}
	for _, p := range list {
		what := p.Found
		if p.Key != "" {
			what = p.Key + ": " + what
		}
		fmt.Fprintf(b, "%-*s  %s\n", width, p.Where(), what)
		if p.Want != "" {
			fmt.Fprintf(b, "%-*s  -> %s\n", width, "", p.Want)
		}
	}
}

// count is a number and its noun; plural is the noun with an s unless given.
func count(n int, noun string, plural ...string) string {
	switch {
	case n == 1:
	case len(plural) > 0:
		noun = plural[0]
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func orEmpty(list []config.Problem) []config.Problem {
	if list == nil {
		return []config.Problem{}
	}
	return list
}

func newConfigSchemaCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema [settings|routes|idps|pdp]",
		Short: "Print the JSON Schema of one file, or of all four",
		Long: `Print the JSON Schema (2020-12) of one configuration file, for an editor, or an
object with all four. With yaml-language-server, begin the file with:

  # yaml-language-server: $schema=routes.schema.json`,
		Example:   "  keyway config schema routes > routes.schema.json",
		ValidArgs: config.SchemaNames(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("%s takes one name at most", cmd.CommandPath())
			}
			return nil
		},
	}
	jsonFlag(cmd) // it always is
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 1 {
			schema, err := config.Schema(args[0])
			if err != nil {
				return usage("%w", err)
			}
			_, err = fmt.Fprintf(s.stdout, "%s\n", schema)
			return err
		}
		all := make(map[string]json.RawMessage)
		for _, name := range config.SchemaNames() {
			schema, err := config.Schema(name)
			if err != nil {
				return err
			}
			all[name] = schema
		}
		return printJSON(s.stdout, all)
	}
	return cmd
}

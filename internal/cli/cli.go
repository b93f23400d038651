package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	exitOK    = 0 // it is so
	exitNotSo = 1 // it is not
	exitUsage = 2 // the call was wrong
)

// streams is where a command reads its surroundings and writes its answer.
type streams struct {
	environ        []string // as os.Environ gives it
	stdout, stderr io.Writer
}

// exitError ends a command with a code. err may be nil when everything that is
// to be said has been printed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// notSo is the answer no, already printed.
func notSo() error { return &exitError{code: exitNotSo} }

// usage is a wrong call.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// Run runs one command and returns its exit code. ctx ends it early; args are
// without the program's name.
func Run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := newRoot(&streams{environ: environ, stdout: stdout, stderr: stderr})
	// Never nil: cobra would take the process's own arguments.
	root.SetArgs(append([]string{}, args...))
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code := exitUsage // what cobra itself finds is always a wrong call
	if e, ok := errors.AsType[*exitError](err); ok {
		code = e.code
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintf(stderr, "keyway: %s\n", msg)
		if code == exitUsage {
			fmt.Fprintf(stderr, "Run '%s --help' for what it takes.\n", cmd.CommandPath())
		}
	}
	return code
}

func newRoot(s *streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "keyway",
		Short: "A backend for frontend that rotates every key it holds while it serves",
		Long: `Keyway stands between browsers and APIs: the browser holds one HttpOnly cookie,
every OAuth token stays on the server.

Exit codes: 0 it is so, 1 it is not, 2 the call was wrong.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	// A command that only has others below it is not run by itself.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	group(root,
		inGroup(groupRun, newDemoCommand(s)),
		inGroup(groupRun, newServeCommand(s)),
		inGroup(groupRun, newRotateKeysCommand(s)),
		inGroup(groupTurn, newStatusCommand(s)),
		inGroup(groupTurn, newRotateCommand(s)),
		inGroup(groupTurn, newRollbackCommand(s)),
		inGroup(groupUsers, newSessionsCommand(s)),
		inGroup(groupAsk, newConfigCommand(s)),
		inGroup(groupAsk, newRoutesCommand(s)),
		inGroup(groupAsk, newMigratePDPCommand(s)),
		inGroup(groupAsk, newPoliciesCommand(s)),
		inGroup(groupAsk, newVerifyCommand(s)),
		inGroup(groupAsk, newAuditCommand(s)),
		inGroup(groupAsk, newVersionCommand(s)),
	)
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run it:"}, &cobra.Group{ID: groupTurn, Title: "Turn the secrets of a running gateway:"},
		&cobra.Group{ID: groupUsers, Title: "Who is signed in:"}, &cobra.Group{ID: groupAsk, Title: "Ask it, changing nothing that runs:"})
	return root
}

// Under these the help lists the commands.
const (
	groupRun   = "run"
	groupTurn  = "turn"
	groupUsers = "users"
	groupAsk   = "ask"
)

func inGroup(id string, cmd *cobra.Command) *cobra.Command {
	cmd.GroupID = id
	return cmd
}

// group makes cmd a command that only has commands below it.
func group(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(children...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s needs a command: %s", cmd.CommandPath(), strings.Join(childNames(cmd), ", "))
		}
		hint := ""
		if cmd.SuggestionsMinimumDistance <= 0 {
			cmd.SuggestionsMinimumDistance = 2
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return usage("%s has no command %q%s", cmd.CommandPath(), args[0], hint)
	}
	return cmd
}

func childNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "completion" {
			names = append(names, c.Name())
		}
	}
	return names
}

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}

// configFlag adds --config.
func configFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("config", "", "configuration `directory` (default BFF_CONFIG_DIR, then ./config)")
}

// exactly is a wrong call unless there are n arguments, called names.
func exactly(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usage("%s takes %s, and was given %s", cmd.CommandPath(), names, count(len(args), "argument"))
		}
		return nil
	}
}

// printJSON prints v as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

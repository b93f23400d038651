package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyway/internal/admin"
	"keyway/internal/rotation"
)

// rotateAsk is what POST rotations takes.
type rotateAsk struct {
	Secrets     []string `json:"secrets,omitempty"`
	All         bool     `json:"all,omitempty"`
	Compromised bool     `json:"compromised,omitempty"`
	Plan        bool     `json:"plan,omitempty"`
}

type rotationsAnswer struct {
	Rotations []rotation.Rotation `json:"rotations"`
}

type plansAnswer struct {
	Plans []admin.Plan `json:"plans"`
}

// rotateOptions are the flags of rotate.
type rotateOptions struct {
	ask       rotateAsk
	wait, yes bool
	asJSON    bool
	timeout   time.Duration
}

func newRotateCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate NAME…|--all",
		Short: "Rotate secrets of a running fleet, or say what would happen",
		Long: `Have a running gateway turn secrets: a new version is made, or one that was handed
in is taken; it is used when every replica holds it and, where somebody else has to
accept it, they do. What older versions issued stays good until it expires. With
--compromised there is no such overlap: the plan says who will notice, and has to
be confirmed, on a terminal or by --yes.

Rotations go on in the fleet whether or not anybody waits for them.

Exit code 0: started; with --wait, every secret turned; with --plan, all can be done.
1: one did not, was refused or rolled back, needs an operator, or the time was up.`,
		Example: "  keyway rotate session-key --wait\n  keyway rotate --all --plan\n  keyway rotate csrf-key --compromised --yes --wait --json",
	}
	var o rotateOptions
	flags, asJSON := adminFlagsOf(cmd), jsonFlag(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.ask.All, "all", false, "every secret")
	f.BoolVar(&o.ask.Plan, "plan", false, "only say what would happen, when, and who would notice")
	f.BoolVar(&o.ask.Compromised, "compromised", false, "without overlap: somebody else may have the value")
	f.BoolVar(&o.wait, "wait", false, "wait until it is done, and say how it goes")
	f.BoolVar(&o.yes, "yes", false, "don't ask before --compromised")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 && !o.ask.All:
			return usage("%s takes the names of secrets, or --all; 'keyway status' lists them", cmd.CommandPath())
		case len(args) > 0 && o.ask.All:
			return usage("%s takes the names of secrets or --all, and was given both", cmd.CommandPath())
		case o.ask.Plan && o.wait:
			return usage("--plan does nothing that --wait could wait for; give one of them")
		case o.timeout <= 0:
			return usage("--timeout: expected more than 0, as in 5m; found %s", o.timeout)
		}
		for i, name := range args {
			if name == "" || slices.Contains(args[:i], name) {
				return usage("%q is named twice, or is no name", name)
			}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.ask.Secrets, o.asJSON = args, *asJSON
		c, err := flags.client(s)
		if err != nil {
			return err
		}
		if o.ask.Plan {
			return plan(cmd.Context(), c, s, o)
		}
		if o.ask.Compromised && !o.yes {
			if err := confirm(cmd.Context(), c, s, o, cmd.InOrStdin()); err != nil {
				return err
			}
		}
		return rotate(cmd.Context(), c, s, o)
	}
	return cmd
}

// askPlans has a plan made, and decodes it.
func askPlans(ctx context.Context, c *adminClient, ask rotateAsk) ([]admin.Plan, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	ask.Plan = true
	a, err := c.do(ctx, "rotations", nil, "", ask)
	if err != nil {
		return nil, time.Time{}, c.plainly(err)
	}
	var answer plansAnswer
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return nil, time.Time{}, c.strange(err)
	}
	return answer.Plans, a.now, nil
}

func plan(ctx context.Context, c *adminClient, s *streams, o rotateOptions) error {
	plans, now, err := askPlans(ctx, c, o.ask)
	if err != nil {
		return err
	}
	if o.asJSON {
		err = printJSON(s.stdout, plansAnswer{plans})
	} else {
		err = printPlans(s.stdout, painter(s), plans, now)
	}
	if err == nil && slices.ContainsFunc(plans, func(p admin.Plan) bool { return p.Refused != "" }) {
		err = notSo()
	}
	return err
}

// printPlans says the same of several secrets once.
func printPlans(w io.Writer, p paint, plans []admin.Plan, now time.Time) error {
	var bodies []string // each once, in the order of the first secret that it is for
	heads := map[string][]string{}
	for _, one := range plans {
		body := planBody(p, one, now)
		if heads[body] == nil {
			bodies = append(bodies, body)
		}
		heads[body] = append(heads[body], fmt.Sprintf("%s, active %s\n", p.in(bold, printable(one.Secret)), printable(short(one.From))))
	}
	var b strings.Builder
	for i, body := range bodies {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(strings.Join(heads[body], "") + body)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// planBody is what a plan says below the secret's name.
func planBody(p paint, one admin.Plan, now time.Time) string {
	var b strings.Builder
	if one.Refused != "" {
		return fmt.Sprintf("  %s\n", p.in(red, printable("not now: "+one.Refused)))
	}
	for n, step := range one.Steps {
		fmt.Fprintf(&b, "  %d. %s\n", n+1, printable(step))
	}
	if one.EarliestAt != nil {
		when := "at once"
		if one.EarliestAt.After(now.Add(time.Second)) {
			when = relative(*one.EarliestAt, now) + " at the earliest"
		}
		fmt.Fprintf(&b, "  in use      %s\n", when)
	}
	for _, blocked := range one.Blocked {
		fmt.Fprintf(&b, "  %s\n", p.in(yellow, printable("held up by  "+blocked)))
	}
	for n, notice := range one.Notices {
		label := "notices     "
		if n > 0 {
			label = "            "
		}
		fmt.Fprintf(&b, "  %s\n", printable(label+notice))
	}
	return b.String()
}

// confirm shows who will notice, and asks. Where nobody can be asked it has to be
// said beforehand.
func confirm(ctx context.Context, c *adminClient, s *streams, o rotateOptions, stdin io.Reader) error {
	if !isTerminal(stdin) {
		return usage("--compromised ends what older versions issued, and there is no terminal to ask at; look at it with --compromised --plan, then give --yes")
	}
	plans, now, err := askPlans(ctx, c, o.ask)
	if err != nil {
		return err
	}
	// Not on stdout: with --json that is for the answer.
	if err := printPlans(s.stderr, painter(&streams{environ: s.environ, stdout: s.stderr}), plans, now); err != nil {
		return err
	}
	fmt.Fprintln(s.stderr)
	return typedYes(ctx, s, stdin)
}

// typedYes asks whoever sits there.
func typedYes(ctx context.Context, s *streams, stdin io.Reader) error {
	fmt.Fprint(s.stderr, "Do it? Type yes: ")
	line := make(chan string, 1)
	go func() { // it ends with the process, if nobody types
		text, _ := bufio.NewReader(io.LimitReader(stdin, 100)).ReadString('\n')
		line <- text
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.stderr)
		return &exitError{exitNotSo, fmt.Errorf("stopped; nothing was done")}
	case text := <-line:
		if strings.TrimSpace(text) != "yes" {
			return &exitError{exitNotSo, fmt.Errorf("not confirmed; nothing was done")}
		}
	}
	return nil
}

// rotate starts the rotations, and waits for them if asked to.
func rotate(ctx context.Context, c *adminClient, s *streams, o rotateOptions) error {
	within, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	started, err := askRotations(within, c, "rotations", o.ask)
	if err != nil {
		return err
	}
	w := waiter{client: c, streams: s, timeout: o.timeout, quiet: o.asJSON}
	var ended error
	if o.wait {
		started, ended = w.wait(ctx, started)
	}
	if o.asJSON {
		err = printJSON(s.stdout, rotationsAnswer{started})
	} else {
		err = w.summary(started, o)
	}
	if err != nil || ended != nil {
		if ended != nil {
			return ended
		}
		return err
	}
	if slices.ContainsFunc(started, func(r rotation.Rotation) bool { return r.Outcome != "" && r.Outcome != rotation.OutcomeActive }) {
		return notSo()
	}
	return nil
}

// askRotations posts, and decodes the records in the answer.
func askRotations(ctx context.Context, c *adminClient, path string, ask any) ([]rotation.Rotation, error) {
	a, err := c.do(ctx, path, nil, "", ask)
	if err != nil {
		return nil, c.plainly(err)
	}
	var answer rotationsAnswer
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return nil, c.strange(err)
	}
	if answer.Rotations == nil {
		answer.Rotations = []rotation.Rotation{}
	}
	return answer.Rotations, nil
}

package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"keyway/internal/rotation"
)

func newRollbackCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Back to the previous version of a secret, while it still lives",
		Long: `Have a running gateway use the previous version of a secret again, at once. What
the newer version issued stays good until it expires; it is not used again. While a
new version is still pending, it is that which is given up.

A version that is retired or compromised does not come back.

Exit code 0: it is so. 1: it was refused.`,
		Example: "  keyway rollback client-secret",
		Args:    exactly(1, "the name of one secret"),
	}
	flags, asJSON := adminFlagsOf(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.client(s)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
		defer cancel()
		records, err := askRotations(ctx, c, "rollbacks", map[string]string{"secret": args[0]})
		if err != nil {
			return err
		}
		w := waiter{client: c, streams: s, timeout: adminTimeout, quiet: true}
		records, err = w.wait(cmd.Context(), records)
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(s.stdout, rotationsAnswer{records})
		} else {
			err = printRollback(s, w, records)
		}
		if err == nil && slices.ContainsFunc(records, notBack) {
			err = notSo()
		}
		return err
	}
	return cmd
}

// notBack reports whether a rollback did not do what was asked for. It may have
// made a version active again, or given up one that was pending.
func notBack(r rotation.Rotation) bool {
	switch r.Outcome {
	case rotation.OutcomeActive, rotation.OutcomeRolledBack, rotation.OutcomeRejected:
		return false
	}
	return true
}

func printRollback(s *streams, w waiter, records []rotation.Rotation) error {
	p := painter(s)
	for _, r := range records {
		var text string
		switch r.Outcome {
		case rotation.OutcomeActive, rotation.OutcomeRolledBack:
			text = fmt.Sprintf("%s: %s is active again, instead of %s. What %[3]s issued stays good until it expires.", r.Secret, short(r.To), short(r.From))
		case rotation.OutcomeRejected:
			text = fmt.Sprintf("%s: %s, which was pending, is given up. %s stays active.", r.Secret, short(r.To), short(r.From))
		default:
			w.table(p, records).write(s.stdout)
			continue
		}
		if _, err := fmt.Fprintln(s.stdout, printable(text)); err != nil {
			return err
		}
	}
	return nil
}

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"keyway/internal/authz/cedar"

	"github.com/spf13/cobra"
)

func newPoliciesCommand(s *streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "policies",
		Short: "Check a folder of policies",
	}, newPoliciesCheckCommand(s))
}

func newPoliciesCheckCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Report everything that is wrong with a folder of policies",
		Long: `Read a folder of Cedar policies as the gateway would, with its schema if there is
one, and report every problem.

Read are *.cedar and schema.cedarschema in the folder itself.

Exit code 0: it can be used. 1: it can't. 2: there is no such folder.`,
		Args: exactly(1, "DIR"),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		answer := struct {
			OK       bool     `json:"ok"`
			Policies int      `json:"policies"`
			Problems []string `json:"problems"`
		}{Problems: []string{}}
		point, err := cedar.Open(args[0])
		wrong, ok := errors.AsType[*cedar.Error](err)
		switch {
		case err == nil:
			answer.OK, answer.Policies = true, point.Policies()
		case ok:
			answer.Problems = wrong.Problems
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return usage("%w", err)
		default:
			return &exitError{code: exitNotSo, err: err}
		}
		if *asJSON {
			err = printJSON(s.stdout, answer)
		} else if answer.OK {
			_, err = fmt.Fprintf(s.stdout, "Valid: %s: %s.\n", args[0], count(answer.Policies, "policy", "policies"))
			if err == nil && answer.Policies == 0 {
				_, err = fmt.Fprintln(s.stdout, "Nothing is permitted by it; expected policies in files *.cedar in the folder itself.")
			}
		} else {
			err = nil
			for _, p := range answer.Problems {
				fmt.Fprintln(s.stdout, printable(p))
			}
		}
		if err == nil && !answer.OK {
			err = notSo()
		}
		return err
	}
	return cmd
}

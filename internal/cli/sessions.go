package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyway/internal/admin"
)

func newSessionsCommand(s *streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "sessions",
		Short: "See the sessions of users that live, and end them",
		Long: `See which sessions of users live at a running fleet, and end one, or all of a user.
An end is for good, on every replica, within a second, and is in the record.`,
	}, newSessionsListCommand(s), newSessionsEndCommand(s))
}

// whoseFlags name sessions by what they have in common.
type whoseFlags struct{ subject, sid, issuer *string }

func whoseFlagsOf(cmd *cobra.Command) whoseFlags {
	f := cmd.Flags()
	return whoseFlags{
		f.String("subject", "", "those of the user with this `name` at the issuer (sub)"),
		f.String("sid", "", "those of this session at the issuer (`sid`)"),
		f.String("issuer", "", "whose names these are, a `URL` (default the issuer that users sign in at)"),
	}
}

func (f whoseFlags) named() bool { return *f.subject != "" || *f.sid != "" }

func (f whoseFlags) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"subject": *f.subject, "sid": *f.sid, "issuer": *f.issuer} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// String is for people.
func (f whoseFlags) String() string {
	var parts []string
	if *f.subject != "" {
		parts = append(parts, "subject "+strconv.Quote(*f.subject))
	}
	if *f.sid != "" {
		parts = append(parts, "sid "+strconv.Quote(*f.sid))
	}
	if *f.issuer != "" {
		parts = append(parts, "issuer "+*f.issuer)
	}
	return strings.Join(parts, ", ")
}

// of is for people, too: nothing if it is anybody.
func (f whoseFlags) of() string {
	if !f.named() {
		return ""
	}
	return " of " + printable(f.String())
}

// hint says where the names are, to who has found nobody: a name to sign in by is
// seldom the one that the issuer has for a user, and none ended looks like all ended.
func (f whoseFlags) hint() string {
	if *f.subject == "" {
		return ""
	}
	return "--subject takes what 'keyway sessions list' has as SUBJECT (sub), which may be another name than people sign in by.\n"
}

// check has what is given be something: an empty --subject, from a variable that is
// not set, must not mean everybody.
func (f whoseFlags) check(cmd *cobra.Command) error {
	for _, name := range []string{"subject", "sid", "issuer"} {
		if flag := cmd.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
			return usage("--%s: expected a name, found nothing", name)
		}
	}
	if *f.issuer != "" && !f.named() {
		return usage("--issuer goes with --subject or --sid")
	}
	return nil
}

func newSessionsListCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print which sessions live, of everybody or of one user",
		Long: `Print which sessions live, of everybody or of one user: no token, and nothing of a
cookie. The id is what logs and X-Session-ID have, and what 'keyway sessions end' takes.

Exit code 0: this is what there is. 1: the gateway did not answer, or could not know.`,
		Example: "  keyway sessions list\n  keyway sessions list --subject u-ada-1815 --json",
		Args:    exactly(0, "no arguments"),
	}
	flags, who, asJSON := adminFlagsOf(cmd), whoseFlagsOf(cmd), jsonFlag(cmd)
	most := cmd.Flags().Int("most", admin.DefaultListed, fmt.Sprintf("at most so many, up to %d", admin.MaxListed))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := who.check(cmd); err != nil {
			return err
		}
		if *most < 1 || *most > admin.MaxListed {
			return usage("--most: expected 1 to %d, found %d", admin.MaxListed, *most)
		}
		c, err := flags.client(s)
		if err != nil {
			return err
		}
		answer, now, err := askSessions(cmd.Context(), c, who, *most)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(s.stdout, answer)
		}
		return printSessions(s, who, answer, now)
	}
	return cmd
}

func askSessions(ctx context.Context, c *adminClient, who whoseFlags, most int) (answer admin.SessionsAnswer, now time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	query := who.query()
	query.Set("most", strconv.Itoa(most))
	a, err := c.do(ctx, "sessions", query, "", nil)
	if err != nil {
		return answer, now, c.plainly(err)
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return answer, now, c.strange(err)
	}
	if answer.Sessions == nil {
		answer.Sessions = []admin.Session{}
	}
	return answer, a.now, nil
}

func printSessions(s *streams, who whoseFlags, answer admin.SessionsAnswer, now time.Time) error {
	if len(answer.Sessions) == 0 {
		_, err := fmt.Fprintf(s.stdout, "No session%s.\n%s", who.of(), who.hint())
		return err
	}
	t := newTable(painter(s), "ID", "SUBJECT", "NAME", "EMAIL", "BEGAN", "ENDS")
	for _, one := range answer.Sessions {
		t.row(cell{one.PublicID, ""}, cell{one.Subject, bold}, cell{orDash(one.Name), ""}, cell{orDash(one.Email), ""},
			cell{relative(one.CreatedAt, now), dim}, cell{relative(one.ExpiresAt, now), dim})
	}
	t.write(s.stdout)
	if answer.More {
		_, err := fmt.Fprintln(s.stdout, "There are more: --most N, or --subject NAME.")
		return err
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type endedAnswer struct {
	admin.EndedAnswer
	Unknown []string `json:"unknown,omitempty"` // of ids: there is no such session
}

func newSessionsEndCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "end ID…|--subject NAME",
		Short: "End sessions, by their ids or all of one user",
		Long: `End sessions for good, on every replica, within a second: by the ids that
'keyway sessions list' prints, or all of one user, which has to be confirmed, on a
terminal or by --yes. The refresh tokens are revoked at the provider. Who is not
locked out there can sign in again at once.

To end everybody's: keyway rotate token-hash-salt --compromised

Exit code 0: they are over. 1: there is none by one of the ids, or the gateway could
not know that all are over; to ask again does no harm.`,
		Example: "  keyway sessions end pXq0mJ2v5n1hYkq3yJt3Zg\n  keyway sessions end --subject u-ada-1815 --yes",
	}
	flags, who, asJSON := adminFlagsOf(cmd), whoseFlagsOf(cmd), jsonFlag(cmd)
	yes := cmd.Flags().Bool("yes", false, "don't ask before all of a user's are ended")
	cmd.Args = func(cmd *cobra.Command, ids []string) error {
		if err := who.check(cmd); err != nil {
			return err
		}
		switch {
		case len(ids) == 0 && !who.named():
			return usage("%s takes the ids of sessions, --subject or --sid; 'keyway sessions list' has them. To end everybody's: keyway rotate token-hash-salt --compromised", cmd.CommandPath())
		case len(ids) > 0 && who.named():
			return usage("%s takes the ids of sessions, or --subject or --sid, and was given both", cmd.CommandPath())
		}
		for _, id := range ids {
			if !isPublicID(id) {
				return usage("expected the id of a session, as 'keyway sessions list' prints it; found %.100q", id)
			}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		c, err := flags.client(s)
		if err != nil {
			return err
		}
		if len(ids) > 0 {
			return endSessions(cmd.Context(), c, s, ids, *asJSON)
		}
		if !*yes {
			if err := confirmEnd(cmd.Context(), c, s, who, cmd.InOrStdin()); err != nil {
				return err
			}
		}
		return endAllOf(cmd.Context(), c, s, who, *asJSON)
	}
	return cmd
}

// isPublicID goes by the letters of base64url: anything else would be another path.
func isPublicID(id string) bool {
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return id != "" && len(id) <= admin.MaxPublicID
}

// endSessions ends one after the other. One that there is not does not keep it from
// the rest.
func endSessions(ctx context.Context, c *adminClient, s *streams, ids []string, asJSON bool) error {
	var answer endedAnswer
	var failed error
	for _, id := range ids {
		one, cancel := context.WithTimeout(ctx, adminTimeout)
		_, err := c.send(one, http.MethodDelete, "sessions/"+id, nil, "", nil)
		cancel()
		if unknown, ok := errors.AsType[*unknownSessionError](err); ok {
			answer.Unknown = append(answer.Unknown, id)
			fmt.Fprintf(s.stderr, "keyway: %s\n", unknown)
			continue
		}
		if err != nil {
			failed = c.plainly(err)
			break
		}
		answer.Ended++
	}
	if failed != nil && answer.Ended == 0 && !asJSON {
		return failed
	}
	if err := printEnded(s, answer, asJSON); err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	if len(answer.Unknown) > 0 {
		return notSo()
	}
	return nil
}

// unknownSessionError says that there is no session by an id.
type unknownSessionError struct{ what string }

func (e *unknownSessionError) Error() string { return e.what }

func endAllOf(ctx context.Context, c *adminClient, s *streams, who whoseFlags, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	a, err := c.send(ctx, http.MethodDelete, "sessions", who.query(), "", nil)
	if err != nil {
		return c.plainly(err)
	}
	var answer endedAnswer
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return c.strange(err)
	}
	if answer.Ended == 0 && !asJSON {
		_, err := fmt.Fprintf(s.stdout, "Ended none: there is no session%s.\n%s", who.of(), who.hint())
		return err
	}
	return printEnded(s, answer, asJSON)
}

func printEnded(s *streams, answer endedAnswer, asJSON bool) error {
	if asJSON {
		return printJSON(s.stdout, answer)
	}
	_, err := fmt.Fprintf(s.stdout, "Ended %s.\n", count(answer.Ended, "session"))
	return err
}

// confirmEnd says how many there are, and asks. Where nobody can be asked it has to be
// said beforehand.
func confirmEnd(ctx context.Context, c *adminClient, s *streams, who whoseFlags, stdin io.Reader) error {
	if !isTerminal(stdin) {
		return usage("this ends all sessions of a user, and there is no terminal to ask at; look at them with 'keyway sessions list', then give --yes")
	}
	answer, _, err := askSessions(ctx, c, who, admin.MaxListed)
	if err != nil {
		return err
	}
	n := count(len(answer.Sessions), "session")
	if answer.More {
		n = "more than " + n
	}
	fmt.Fprintf(s.stderr, "%s of %s: ended for good, on every replica.\n", n, printable(who.String()))
	return typedYes(ctx, s, stdin)
}

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyway/internal/admin"
	"keyway/internal/rotation"
)

func newStatusCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Every secret and its versions, every replica and what it has loaded",
		Long: `Ask a running gateway for every secret: which version is active and since when,
what still depends on older ones, what it waits for, when it turns next; and for
every replica: what it holds, and what it lacks.

Exit code 0: it was asked. 1: it did not answer.`,
		Example: "  keyway status\n  keyway status --json --admin http://127.0.0.1:8001",
		Args:    exactly(0, "no arguments"),
	}
	flags, asJSON := adminFlagsOf(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.client(s)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
		defer cancel()
		a, err := c.do(ctx, "status", nil, "", nil)
		if err != nil {
			return c.plainly(err)
		}
		if *asJSON {
			// As it was answered: a newer gateway may say more than we know of.
			var out bytes.Buffer
			if err := json.Indent(&out, a.body, "", "  "); err != nil {
				return err
			}
			_, err := fmt.Fprintln(s.stdout, strings.TrimSpace(out.String()))
			return err
		}
		var status admin.Status
		if err := json.Unmarshal(a.body, &status); err != nil {
			return c.strange(err)
		}
		var b strings.Builder
		printStatus(&b, painter(s), status, a.now)
		_, err = io.WriteString(s.stdout, b.String())
		return err
	}
	return cmd
}

// plainly says what a deadline of ours means.
func (c *adminClient) plainly(err error) error {
	switch err {
	case context.DeadlineExceeded:
		return &exitError{exitNotSo, fmt.Errorf("no answer from %s within %s", c.base, span(adminTimeout))}
	case context.Canceled:
		return &exitError{exitNotSo, fmt.Errorf("stopped before %s answered", c.base)}
	}
	return err
}

// strange is an answer that is JSON, and not what was asked for.
func (c *adminClient) strange(err error) error {
	return &exitError{exitNotSo, fmt.Errorf("%s answers with another document than this keyway knows (%w); are both of the same release?", c.base, err)}
}

func printStatus(w io.Writer, p paint, s admin.Status, now time.Time) {
	hosts := map[string]string{}
	for _, r := range s.Replicas {
		hosts[r.ID] = r.ID
		if r.Host != "" {
			hosts[r.ID] = r.Host + " (" + r.ID + ")"
		}
	}
	t := newTable(p, "SECRET", "ACTIVE", "FOR", "NEXT")
	for _, one := range s.Secrets {
		secretRow(t, one, hosts, now)
	}
	t.write(w)
	fmt.Fprintln(w)
	t = newTable(p, "REPLICA", "HOST", "HEARD", "STARTED", "HOLDS")
	for _, r := range s.Replicas {
		replicaRow(t, r, s.Leader, now)
	}
	t.write(w)
	if s.Store != "" {
		fmt.Fprintf(w, "\n%s\n", printable("The rings live in "+s.Store+"."))
	}
	for _, note := range s.Notes {
		fmt.Fprintln(w, p.in(yellow, printable("note: "+note)))
	}
}

// maxRetiring is how many retiring versions of one secret are shown. There is one,
// unless somebody rotates faster than what was issued expires.
const maxRetiring = 3

func secretRow(t *table, s admin.SecretStatus, hosts map[string]string, now time.Time) {
	since := ""
	for _, v := range s.Versions {
		if v.ID == s.Active && v.ActivatedAt != nil {
			since = span(now.Sub(*v.ActivatedAt))
		}
	}
	next := "when asked to"
	switch {
	case s.NextRotationAt != nil && s.NextRotationAt.After(now):
		next = relative(*s.NextRotationAt, now)
	case s.NextRotationAt != nil:
		next = "due"
	case s.Source == "handed_in":
		next = "when handed in, or asked"
	}
	t.row(cell{s.Name, bold}, cell{short(s.Active), green}, cell{since, ""}, cell{next, ""})
	beside := 0
	for _, v := range s.Versions { // the newest come first
		if v.State != "retiring" || beside < maxRetiring {
			versionNote(t, v, now)
		}
		if v.State == "retiring" {
			beside++
		}
	}
	if beside > maxRetiring {
		t.note("", "and %d more that are retiring; --json has them all", beside-maxRetiring)
	}
	if s.Waiting != "" {
		again := ""
		if s.Rotation != nil && s.Rotation.NextAt.After(now) {
			again = ", goes on " + relative(s.Rotation.NextAt, now)
			if strings.Contains(s.Waiting, "refuses it") {
				again = "; it is asked all the while, and given up " + relative(s.Rotation.NextAt, now)
			}
		}
		t.note(yellow, "waits: %s%s", s.Waiting, again)
	}
	if len(s.Blocked) > 0 {
		named := make([]string, len(s.Blocked))
		for i, id := range s.Blocked {
			if named[i] = hosts[id]; named[i] == "" {
				named[i] = id
			}
		}
		t.note(yellow, "held up by: %s", strings.Join(named, ", "))
	}
	if r := s.Rotation; r != nil && r.Outcome != "" && r.Outcome != rotation.OutcomeActive {
		t.note(red, "last rotation: %s %s%s", outcomeWords(*r), relative(r.EndedAt, now), because(*r))
	}
	if s.Trouble != "" {
		t.note(red, "trouble: %s", s.Trouble)
	}
	if s.Operator != "" {
		t.note(red, "to do: %s", s.Operator)
	}
}

// versionNote tells of the versions beside the active one that live.
func versionNote(t *table, v admin.VersionStatus, now time.Time) {
	switch v.State {
	case "pending":
		made := ""
		if v.CreatedAt != nil {
			made = ", came " + relative(*v.CreatedAt, now)
		}
		t.note("", "pending %s%s", short(v.ID), made)
	case "retiring":
		var facts []string
		if v.Dependents != nil {
			facts = append(facts, depend(*v.Dependents))
		}
		if v.RetiresAt != nil {
			facts = append(facts, "ends "+relative(*v.RetiresAt, now)+" at the latest")
		}
		if v.Withdrawn {
			facts = append(facts, "withdrawn")
		}
		if v.Compromised {
			facts = append(facts, "compromised")
		}
		t.note("", "retiring %s: %s", short(v.ID), strings.Join(facts, ", "))
	}
}

func depend(n int) string {
	switch n {
	case 0:
		return "nothing depends on it"
	case 1:
		return "1 depends on it"
	}
	return fmt.Sprintf("%d depend on it", n)
}

func replicaRow(t *table, r admin.ReplicaStatus, leader string, now time.Time) {
	holds, colour := "everything", ""
	lacking := map[string]bool{}
	for _, l := range r.Lacks {
		name, id, _ := strings.Cut(l, " ")
		lacking[name+" "+short(id)] = true
	}
	switch {
	case !r.Live:
		holds, colour = "gone: nobody waits for it", dim
	case len(lacking) > 0:
		holds, colour = "lacks "+strings.Join(slices.Sorted(maps.Keys(lacking)), ", "), yellow
	}
	id, started := r.ID, ""
	if r.ID == leader {
		id += " (leads)"
	}
	if !r.StartedAt.IsZero() {
		started = relative(r.StartedAt, now)
	}
	t.row(cell{id, bold}, cell{r.Host, ""}, cell{relative(r.SeenAt, now), ""}, cell{started, ""}, cell{holds, colour})
}

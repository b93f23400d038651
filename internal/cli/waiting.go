package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"keyway/internal/rotation"
)

const (
	// pollFor is how long one request waits for news; well below what proxies cut.
	pollFor = 20 * time.Second
	// retryAfter is how long a gateway that does not answer is left alone.
	retryAfter = time.Second
)

// waiter follows rotations until they have an outcome.
type waiter struct {
	client  *adminClient
	streams *streams
	timeout time.Duration
	quiet   bool // no lines while waiting
	told    map[string]int
	waits   map[string]string
}

// wait returns the records as they are in the end. The error says why waiting
// ended early.
func (w *waiter) wait(ctx context.Context, records []rotation.Rotation) ([]rotation.Rotation, error) {
	w.told, w.waits = map[string]int{}, map[string]string{}
	within, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	w.tell(records)
	tag, silent := "", false
	for {
		open := openIDs(records)
		if len(open) == 0 {
			return records, nil
		}
		query := url.Values{"id": open}
		if tag != "" { // else what there is now comes first
			query.Set("wait", strconv.Itoa(int(pollFor.Seconds())))
		}
		a, err := w.client.do(within, "rotations", query, tag, nil)
		if within.Err() != nil {
			return records, w.early(ctx)
		}
		if _, away := errors.AsType[*unreachableError](err); away {
			// A replica that is stopped: another may answer at the same address, and the
			// rotation is in the fleet's journal.
			if !silent {
				fmt.Fprintf(w.streams.stderr, "keyway: %s. The rotation goes on without it; trying again.\n", strings.TrimSuffix(err.Error(), "."))
			}
			silent = true
			if !pause(within, retryAfter) {
				return records, w.early(ctx)
			}
			continue
		}
		if err != nil {
			return records, err
		}
		if silent = false; a.status == http.StatusNotModified {
			continue
		}
		var news rotationsAnswer
		if err := json.Unmarshal(a.body, &news); err != nil {
			return records, w.client.strange(err)
		}
		records, tag = merge(records, news.Rotations), a.tag
		if !slices.Equal(open, openIDs(records)) {
			tag = "" // it was of other records
		}
		w.tell(records)
	}
}

func (w *waiter) early(ctx context.Context) error {
	if ctx.Err() != nil {
		return &exitError{exitNotSo, errors.New("stopped waiting; the rotation goes on, and 'keyway status' says how")}
	}
	return &exitError{exitNotSo, fmt.Errorf("not done within %s; the rotation goes on, and 'keyway status' says how", w.timeout)}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func openIDs(records []rotation.Rotation) (ids []string) {
	for _, r := range records {
		if r.Outcome == "" {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func merge(records, news []rotation.Rotation) []rotation.Rotation {
	merged := slices.Clone(records)
	for i, r := range merged {
		if at := slices.IndexFunc(news, func(n rotation.Rotation) bool { return n.ID == r.ID }); at >= 0 {
			merged[i] = news[at]
		}
	}
	return merged
}

// tell prints a line for everything that is new.
func (w *waiter) tell(records []rotation.Rotation) {
	if w.quiet {
		return
	}
	width := 0
	for _, r := range records {
		width = max(width, len(r.Secret))
	}
	line := func(r rotation.Rotation, at time.Time, text string) {
		fmt.Fprintf(w.streams.stdout, "%8s  %-*s  %s\n", took(max(0, at.Sub(r.StartedAt))), width, printable(r.Secret), printable(text))
	}
	for _, r := range records {
		for i := min(w.told[r.ID], len(r.Steps)); i < len(r.Steps); i++ {
			step := r.Steps[i]
			if step.What == rotation.StepActivating && i+1 < len(r.Steps) && r.Steps[i+1].What == rotation.StepActivated {
				continue // it is done: what the journal says before is of no news
			}
			text := strings.ReplaceAll(step.What, "_", " ")
			if step.Detail != "" {
				text += ": " + step.Detail
			}
			line(r, step.At, text)
		}
		w.told[r.ID] = len(r.Steps)
		waits := r.Waiting
		if slices.ContainsFunc(r.Blocked, func(id string) bool { return !strings.Contains(waits, id) }) {
			waits += " (held up by " + strings.Join(r.Blocked, ", ") + ")"
		}
		if r.Outcome == "" && waits != "" && waits != w.waits[r.ID] {
			line(r, time.Now(), "waits: "+waits)
		}
		w.waits[r.ID] = waits
	}
}

// summary is the table at the end, and what comes next.
func (w *waiter) summary(records []rotation.Rotation, o rotateOptions) error {
	p, out := painter(w.streams), &strings.Builder{}
	if o.wait {
		out.WriteString("\n")
	}
	w.table(p, records).write(out)
	turned, open := false, false
	for _, r := range records {
		turned = turned || r.Outcome == rotation.OutcomeActive
		open = open || r.Outcome == ""
	}
	switch {
	case open:
		fmt.Fprintf(out, "\n'keyway status' says how it goes on.\n")
	case turned && !o.ask.Compromised:
		fmt.Fprintf(out, "\nWhat older versions issued stays good until it expires; 'keyway status' says what still depends on them.\nUntil they end, 'keyway rollback NAME' brings the previous one back.\n")
	}
	_, err := fmt.Fprint(w.streams.stdout, out)
	return err
}

func (w *waiter) table(p paint, records []rotation.Rotation) *table {
	t := newTable(p, "SECRET", "FROM", "TO", "OUTCOME", "TOOK")
	for _, r := range records {
		colour, time := red, took(r.EndedAt.Sub(r.StartedAt))
		switch r.Outcome {
		case rotation.OutcomeActive:
			colour = green
		case "":
			colour, time = yellow, ""
		case rotation.OutcomeNeedsOperator, rotation.OutcomeUnchanged:
			time = ""
		}
		t.row(cell{r.Secret, bold}, cell{short(r.From), ""}, cell{short(r.To), ""}, cell{outcomeWords(r), colour}, cell{time, ""})
		if r.Outcome != rotation.OutcomeActive {
			if why := strings.TrimPrefix(because(r), ": "); why != "" {
				t.note("", "%s", why)
			}
		}
	}
	return t
}

func outcomeWords(r rotation.Rotation) string {
	if r.Outcome == "" {
		return "under way"
	}
	return strings.ReplaceAll(r.Outcome, "_", " ")
}

// because is why a rotation is as it is: what it waits for, or what the last step
// that says something said.
func because(r rotation.Rotation) string {
	if r.Waiting != "" {
		return ": " + r.Waiting
	}
	if r.Outcome == "" {
		return ""
	}
	for _, step := range slices.Backward(r.Steps) {
		if step.Detail != "" {
			return ": " + step.Detail
		}
	}
	return ""
}

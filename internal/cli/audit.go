package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"keyway/internal/audit"
)

const (
	// auditTimeout is how long reading a whole chain may take.
	auditTimeout = 10 * time.Minute
	// auditPage is how many entries are asked for at once.
	auditPage = 500
	// maxExport bounds a file that is checked, in bytes.
	maxExport = 1 << 30
	// maxKeySet bounds a key set, in bytes.
	maxKeySet = 1 << 20
)

func newAuditCommand(s *streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "audit",
		Short: "The record of what happened to secrets: export it, check it",
		Long: `What happened to every secret is in a chain, in which each entry has the hash of the
one before: an entry that is changed, missing or moved shows.`,
	}, newAuditExportCommand(s), newAuditCheckCommand(s))
}

func newAuditExportCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the record, an entry a line, byte for byte as it is kept",
		Long: `Print the record of a running gateway, or a part of it: an entry a line, byte for byte
as it is kept, and one more line with the head of the chain and its signature, and
which part of the record it is. Keep that head, or the file: the next check can begin
with it.

With --until the last line has no signature: nobody has signed that entry as the end.
So a check with --jwks does not pass: export without --until for that.

Exit code 0: all of it was read. 1: the gateway did not answer.`,
		Example: "  keyway audit export --out audit-2026-03.jsonl --since 2026-03-01 --until 2026-04-01",
		Args:    exactly(0, "no arguments"),
	}
	flags := adminFlagsOf(cmd)
	since := cmd.Flags().String("since", "", "only what happened at this `time` or later: 2026-03-01, or 2026-03-01T12:00:00Z")
	until := cmd.Flags().String("until", "", "only what happened before this `time`")
	out := cmd.Flags().String("out", "", "write into this `file`, which only its owner can read, instead of standard output")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := moment("--since", *since)
		if err != nil {
			return err
		}
		to, err := moment("--until", *until)
		if err != nil {
			return err
		}
		if !to.IsZero() && !from.Before(to) {
			return usage("--until: expected a time after that of --since")
		}
		c, err := flags.client(s)
		if err != nil {
			return err
		}
		lines, head, err := c.record(cmd.Context())
		if err != nil {
			return err
		}
		lines, end := between(lines, head, from, to)
		var content bytes.Buffer
		for _, line := range lines {
			content.Write(line)
			content.WriteByte('\n')
		}
		last, err := json.Marshal(end)
		if err != nil {
			return err
		}
		content.Write(append(last, '\n'))
		if *out == "" {
			_, err := s.stdout.Write(content.Bytes())
			return err
		}
		if err := renameio.WriteFile(*out, content.Bytes(), 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
			if e, ok := errors.AsType[*fs.PathError](err); ok { // its path is of a file that is only there while we write
				err = fmt.Errorf("expected to write %s, found: %w", *out, e.Err)
			}
			return &exitError{exitNotSo, fmt.Errorf("--out: %w", err)}
		}
		fmt.Fprintf(s.stderr, "%s, and the head of entry %d, are in %s\n", count(len(lines), "entry", "entries"), end.Head.Seq, *out)
		return nil
	}
	return cmd
}

// moment reads a date or a time; the zero Time if there is none.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("%s: expected a date or a time, as in 2026-03-01 or 2026-03-01T12:00:00Z; found %q", flag, text)
}

// between is the stretch of a chain that happened between two times, and how an
// export of it ends. If that has no entry, it is with the end of the chain.
func between(lines [][]byte, head audit.Head, since, until time.Time) ([][]byte, audit.End) {
	at := func(line []byte) time.Time {
		e, err := audit.Parse(line)
		if err != nil {
			return since // what can't be read is for a check to find
		}
		return e.At
	}
	begin := 0
	for begin < len(lines) && at(lines[begin]).Before(since) {
		begin++
	}
	end := len(lines)
	if !until.IsZero() {
		for end > begin && !at(lines[end-1]).Before(until) {
			end--
		}
	}
	part := audit.Part{Since: since.UTC(), Until: until.UTC()}
	if begin < end {
		if end < len(lines) {
			head = audit.Head{Seq: audit.SeqOf(lines[end-1]), Hash: audit.HashLine(lines[end-1])}
		}
		part.First, part.Last = audit.SeqOf(lines[begin]), head.Seq
		if next := begin + 1; part.First == 0 && next < end { // it can't be read
			part.First = audit.SeqOf(lines[next]) - 1
		}
	}
	return lines[begin:end], audit.End{Head: &head, Part: part}
}

// record is the whole chain of a running gateway, and its head.
func (c *adminClient) record(ctx context.Context) (lines [][]byte, head audit.Head, err error) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	for from := uint64(1); ; {
		a, err := c.do(ctx, "audit", url.Values{"from": {strconv.FormatUint(from, 10)}, "most": {strconv.Itoa(auditPage)}}, "", nil)
		if err != nil {
			return nil, audit.Head{}, c.plainly(err)
		}
		var page audit.Page
		if err := json.Unmarshal(a.body, &page); err != nil {
			return nil, audit.Head{}, c.strange(err)
		}
		head = page.Head
		if len(page.Lines) == 0 {
			return lines, head, nil
		}
		for _, line := range page.Lines {
			lines = append(lines, []byte(line))
		}
		next := max(page.First+uint64(len(page.Lines)), audit.SeqOf(lines[len(lines)-1])+1)
		if next <= from || next > head.Seq {
			return lines, head, nil
		}
		from = next
	}
}

func newAuditCheckCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say whether the record is whole, and if not, which entry is wrong and how",
		Long: `Check a file that 'keyway audit export' has written, or, without one, the record of a
running gateway: that each entry follows from the one before, that none is changed,
missing or moved, and that it ends where its head says. Of a part (--since, --until)
it is said that it is one: what is before and after it is not seen.

That tells nothing of who has written it. For that, hold it against the key set of the
gateway (--jwks), and against an earlier export (--since-export, or --anchor with the
number and the hash of the entry that was the last then). That entry has to be there,
or the one after it: say so with --anchor-may-be-dropped if it is older than the
retention, which shows no more than a check without it.

Exit code 0: it is whole. 1: it is not, or, with --jwks, its head is not signed with a
key in that set; or the gateway did not answer. 2: the file is no export, or the key
set is none.`,
		Example: "  keyway audit check --jwks https://app.example/.well-known/jwks.json\n  keyway audit check audit.jsonl --since-export audit-of-last-month.jsonl",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("%s takes one file at most, and was given %d", cmd.CommandPath(), len(args))
			}
			return nil
		},
	}
	flags, asJSON := adminFlagsOf(cmd), jsonFlag(cmd)
	anchor := cmd.Flags().String("anchor", "", "an entry that has to be in it, as `SEQ:HASH`")
	earlier := cmd.Flags().String("since-export", "", "an earlier export, a `file`, whose last entry has to be in it")
	gone := cmd.Flags().Bool("anchor-may-be-dropped", false, "the entry of --anchor or --since-export may be gone, as one that is older than the retention")
	keys := cmd.Flags().String("jwks", "", "`URL or file` with the key set that the head has to be signed with")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := audit.CheckOptions{Whole: len(args) == 0, AnchorMayBeGone: *gone}
		var err error
		if o.Anchor, err = anchorOf(*anchor, *earlier); err != nil {
			return err
		}
		if *keys != "" {
			if o.KeySet, err = keySet(cmd.Context(), *keys); err != nil {
				return err
			}
		}
		var lines [][]byte
		if len(args) == 1 {
			var end *audit.End
			if lines, end, err = readExport("", args[0]); end != nil {
				o.Head = end.Head
				if end.First > 0 || !end.All() {
					o.Part, o.Whole = &end.Part, end.All()
				}
			}
		} else {
			var c *adminClient
			if c, err = flags.client(s); err != nil {
				return err
			}
			o.Head = &audit.Head{}
			lines, *o.Head, err = c.record(cmd.Context())
		}
		if err != nil {
			return err
		}
		report := audit.Check(lines, o)
		if *asJSON {
			err = printJSON(s.stdout, report)
		} else {
			var b strings.Builder
			printAudit(&b, painter(s), report, o)
			_, err = io.WriteString(s.stdout, b.String())
		}
		if err == nil && !report.OK {
			err = notSo()
		}
		return err
	}
	return cmd
}

func anchorOf(anchor, earlier string) (*audit.Anchor, error) {
	switch {
	case anchor != "" && earlier != "":
		return nil, usage("--anchor and --since-export say the same; give one of them")
	case anchor != "":
		seq, hash, _ := strings.Cut(anchor, ":")
		n, err := strconv.ParseUint(seq, 10, 64)
		if err != nil || n == 0 || len(hash) != len(audit.HashLine(nil)) {
			return nil, usage("--anchor: expected the number of an entry and its hash, as in 17:%s", audit.HashLine(nil))
		}
		return &audit.Anchor{Seq: n, Hash: hash}, nil
	case earlier != "":
		lines, end, err := readExport("--since-export: ", earlier)
		if err != nil {
			return nil, err
		}
		var head audit.Head
		if end != nil {
			head = *end.Head
		} else if len(lines) > 0 {
			last := lines[len(lines)-1]
			head = audit.Head{Seq: audit.SeqOf(last), Hash: audit.HashLine(last)}
		}
		if head.Seq == 0 {
			return nil, usage("--since-export: %s: expected an export with at least one entry; found none", earlier)
		}
		return &audit.Anchor{Seq: head.Seq, Hash: head.Hash}, nil
	}
	return nil, nil
}

// readExport reads what export has written. flag begins what is said of a wrong file.
func readExport(flag, path string) (lines [][]byte, end *audit.End, err error) {
	content, err := readAtMost(path, maxExport)
	if err == nil {
		lines, end, err = audit.ReadExport(content)
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		return nil, nil, usage("%s%w", flag, err)
	}
	return lines, end, nil
}

func readAtMost(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%s: expected at most %d bytes, found more", path, most)
	}
	return content, err
}

// keySet reads a JWK set from a file or a URL.
func keySet(ctx context.Context, where string) (content []byte, err error) {
	if strings.Contains(where, "://") {
		content, err = fetchKeySet(ctx, where)
	} else if content, err = readAtMost(where, maxKeySet); err != nil {
		err = usage("--jwks: %w", err)
	}
	if err != nil {
		return nil, err
	}
	// Not to blame whoever signed for it.
	if err := audit.CheckKeySet(content); err != nil {
		return nil, usage("--jwks: %s: %w", where, err)
	}
	return content, nil
}

func fetchKeySet(ctx context.Context, where string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil || r.URL.Scheme != "https" && r.URL.Scheme != "http" || r.URL.User != nil {
		return nil, usage("--jwks: expected a file, or a URL as in https://app.example/.well-known/jwks.json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, &exitError{exitNotSo, fmt.Errorf("--jwks: no answer from %s: %s", r.URL.Host, printable(err.Error()))}
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySet))
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, &exitError{exitNotSo, fmt.Errorf("--jwks: expected a key set from %s, found status %d", r.URL.Host, answer.StatusCode)}
	}
	return content, nil
}

func printAudit(w io.Writer, p paint, r audit.Report, o audit.CheckOptions) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-8s  %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	if r.Entries == 0 {
		line("entries", "none")
	} else {
		line("entries", "%d, from %d to %d", r.Entries, r.First, r.Last)
	}
	if !r.From.IsZero() {
		line("time", "%s to %s", r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339))
	}
	if r.Head != nil && r.Head.Seq > 0 {
		line("head", "%d:%s", r.Head.Seq, r.Head.Hash)
	}
	if !r.SignedAt.IsZero() {
		line("signed", "%s, with the key %s", r.SignedAt.UTC().Format(time.RFC3339), r.SignedBy)
	}
	if r.Anchored {
		line("anchor", "entry %d is as it was", o.Anchor.Seq)
	}
	for _, note := range r.Notes {
		line("note", "%s", note)
	}
	fmt.Fprintln(w)
	what := "The record"
	if r.Part != nil && !r.Part.All() {
		what = "This part of the record"
	}
	switch {
	case r.OK && r.Entries == 0 && r.Part != nil:
		fmt.Fprintln(w, what+" has no entries.")
		return
	case r.OK && len(r.Notes) > 0: // what could not be checked must not look checked
		fmt.Fprintln(w, p.in(green, what+" is whole")+", but for what the notes leave open.")
		return
	case r.OK:
		fmt.Fprintln(w, p.in(green, what+" is whole."))
		return
	}
	for _, problem := range r.Problems {
		where := ""
		if problem.Line > 0 {
			where = fmt.Sprintf(" (line %d)", problem.Line)
		}
		fmt.Fprintln(w, p.in(red, "✗ "+printable(problem.What))+where)
		fmt.Fprintln(w, "  "+printable(problem.Means))
	}
	fmt.Fprintf(w, "\n%s\n", p.in(red, what+" is not whole."))
}

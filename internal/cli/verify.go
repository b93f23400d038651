package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyway/internal/secret"
	"keyway/internal/verify"
)

// verifyAsk is what POST verify takes.
type verifyAsk struct {
	Secrets []string `json:"secrets,omitempty"`
}

// verifyOptions are the flags of verify.
type verifyOptions struct {
	secrets                 []string
	url, junit              string
	inside, outside, asJSON bool
	username, passwordFile  string
	caFile                  string
	bearer                  []string
	timeout                 time.Duration
	view                    verify.View // where to look from here
}

func newVerifyCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [SECRET…]",
		Short: "Go through the checklist of a running deployment, from inside and outside",
		Long: `Check that a running deployment works: from inside, by the gateway itself (its keys,
its credentials at identity providers, sign-in, bearer tokens, what each version
issued, the fleet, the store), and from outside, from here, as a browser and an
identity provider see it. Each check says what it saw and, when it fails, the
probable cause and the cure. Nothing is changed, and no user is needed; with a test
account the whole sign-in is tried, too.

With names of secrets only what is about those is checked, from inside.

Exit code 0: every check is good. 1: one is not, or the gateway did not answer.`,
		Example: "  keyway verify\n  keyway verify --url https://app.example.com --junit verify.xml\n  keyway verify signing-key --json",
	}
	var o verifyOptions
	flags, asJSON := adminFlagsOf(cmd), jsonFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&o.url, "url", "", "public `URL` to look at from here (default: the one that the gateway is configured with)")
	f.BoolVar(&o.inside, "inside", false, "only from inside: nothing is asked from here but the admin API")
	f.BoolVar(&o.outside, "outside", false, "only from outside, at --url: no admin API is asked")
	f.StringVar(&o.junit, "junit", "", "write JUnit XML into `FILE`, too, for pipelines")
	f.StringVar(&o.username, "username", "", "`name` of a test account for the whole sign-in, through plain HTML forms")
	f.StringVar(&o.passwordFile, "password-file", "", "`FILE` with its password")
	f.StringVar(&o.caFile, "ca-file", "", "`FILE` with certificates (PEM) of authorities to trust besides the system's")
	f.StringArrayVar(&o.bearer, "bearer-route", nil, "`PATH`, or \"METHOD PATH\", that has to refuse a made-up bearer token; may be repeated")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long all of it may take")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case o.inside && o.outside:
			return usage("--inside and --outside leave nothing to check; give one of them")
		case o.outside && o.url == "":
			return usage("--outside needs --url: no gateway is asked where it is")
		case o.inside && (o.url != "" || o.username != "" || len(o.bearer) > 0):
			return usage("--inside looks at nothing from here; --url, --username and --bearer-route are for the other side")
		case len(args) > 0 && o.outside:
			return usage("what is about a secret is checked from inside; leave --outside out")
		case (o.username == "") != (o.passwordFile == ""):
			return usage("--username and --password-file go together")
		case o.timeout <= 0:
			return usage("--timeout: expected more than 0, as in 1m; found %s", o.timeout)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.secrets, o.asJSON = args, *asJSON
		c, err := flags.client(s)
		if err != nil {
			return err
		}
		if err := o.prepare(); err != nil {
			return err
		}
		return runVerify(cmd.Context(), c, s, o)
	}
	return cmd
}

// prepare reads what flags name. Its errors are wrong calls.
func (o *verifyOptions) prepare() error {
	if o.url != "" {
		u, err := verify.ParseURL(o.url)
		if err != nil {
			return usage("--url: %w", err)
		}
		o.view.URL = u
	}
	for _, text := range o.bearer {
		r, err := verify.ParseRoute(text)
		if err != nil {
			return usage("--bearer-route: %w", err)
		}
		o.view.Bearer = append(o.view.Bearer, r)
	}
	if o.passwordFile != "" {
		found, err := secret.Finder{}.Read(o.passwordFile)
		if err != nil {
			return usage("--password-file: %w", err)
		}
		o.view.Username, o.view.Password = o.username, found.Value
	}
	if o.caFile != "" {
		content, err := os.ReadFile(o.caFile)
		if err != nil {
			return usage("--ca-file: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(content) {
			return usage("--ca-file: %s: expected certificates in PEM, found none", o.caFile)
		}
		o.view.Roots = roots
	}
	return nil
}

// runVerify looks from inside, then from outside with what that told.
func runVerify(ctx context.Context, c *adminClient, s *streams, o verifyOptions) error {
	within, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	began := time.Now()
	var r verify.Report
	if o.outside {
		r = verify.Outside(within, o.view)
	} else {
		var err error
		if r, err = askVerify(within, c, o.secrets); err != nil {
			return timedOut(ctx, err, o.timeout)
		}
		if r.Deployment != nil && !o.inside && len(o.secrets) == 0 {
			r = r.And(lookOutside(within, o.view, *r.Deployment))
		}
	}
	if within.Err() != nil {
		return timedOut(ctx, within.Err(), o.timeout)
	}
	var err error
	if o.asJSON {
		err = printJSON(s.stdout, r)
	} else {
		var b strings.Builder
		printReport(&b, painter(s), r, time.Since(began))
		_, err = io.WriteString(s.stdout, b.String())
	}
	if o.junit != "" && err == nil { // after what was found is printed: it is not lost with the file
		if err := writeJUnit(o.junit, r); err != nil {
			return &exitError{exitNotSo, fmt.Errorf("--junit: %w", err)}
		}
	}
	if err == nil && !r.OK {
		err = notSo()
	}
	return err
}

func timedOut(ctx context.Context, err error, within time.Duration) error {
	switch {
	case ctx.Err() != nil:
		return &exitError{exitNotSo, errors.New("stopped before all was checked; nothing was changed")}
	case errors.Is(err, context.DeadlineExceeded):
		return &exitError{exitNotSo, fmt.Errorf("not done within %s; nothing was changed", within)}
	}
	return err
}

// askVerify has the gateway go through what it can check.
func askVerify(ctx context.Context, c *adminClient, secrets []string) (verify.Report, error) {
	a, err := c.do(ctx, "verify", nil, "", verifyAsk{secrets})
	if err != nil {
		return verify.Report{}, err
	}
	var r verify.Report
	if err := json.Unmarshal(a.body, &r); err != nil {
		return verify.Report{}, c.strange(err)
	}
	return r, nil
}

// lookOutside looks at the public address that was given, or that the gateway tells
// of.
func lookOutside(ctx context.Context, view verify.View, d verify.Deployment) verify.Report {
	view.Deployment = d
	if view.URL == nil {
		u, err := url.Parse(d.Public)
		if err != nil || d.Public == "" {
			return verify.Report{OK: true, Checks: []verify.Check{{
				ID: "outside", Name: "from outside", OK: true, Skipped: true, Saw: "no public address is configured (BFF_CALLBACK_URL); give --url",
			}}}
		}
		view.URL = u
	}
	return verify.Outside(ctx, view)
}

func writeJUnit(path string, r verify.Report) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(verify.WriteJUnit(f, r), f.Close())
}

// printReport is a line for each check, with the cause and the cure below those that
// fail.
func printReport(w io.Writer, p paint, r verify.Report, elapsed time.Duration) {
	width := 0
	for _, c := range r.Checks {
		width = max(width, len([]rune(printable(c.ID))))
	}
	indent := strings.Repeat(" ", width+4)
	good, failed, skipped := 0, 0, 0
	for _, c := range r.Checks {
		mark, colour, saw := "✓", green, printable(c.Saw)
		switch {
		case c.Skipped:
			mark, colour = "–", dim
			skipped++
		case !c.OK:
			mark, colour = "✗", red
			failed++
		default:
			good++
		}
		id := printable(c.ID)
		fmt.Fprintf(w, "%s %s%s  %s  %s\n", p.in(colour, mark), p.in(bold, id), strings.Repeat(" ", width-len([]rune(id))),
			printable(c.Name)+": "+saw, p.in(dim, fmt.Sprintf("%d ms", c.TookMS)))
		if c.OK {
			continue
		}
		if c.Cause != "" {
			fmt.Fprintf(w, "%s%s  %s\n", indent, p.in(yellow, "cause"), printable(c.Cause))
		}
		if c.Cure != "" {
			fmt.Fprintf(w, "%s%s   %s\n", indent, p.in(yellow, "cure"), printable(c.Cure))
		}
	}
	summary := fmt.Sprintf("%d good", good)
	if failed > 0 {
		summary = fmt.Sprintf("%d failed, %s", failed, summary)
	}
	if skipped > 0 {
		summary += fmt.Sprintf(", %d left out", skipped)
	}
	colour := green
	if failed > 0 {
		colour = red
	}
	fmt.Fprintf(w, "\n%s\n", p.in(colour, summary+" in "+took(elapsed)))
	if waited := time.Duration(r.WaitedMS) * time.Millisecond; waited >= time.Second {
		fmt.Fprintf(w, "%s of that waited for another verification: the same is not gone through more often than once in 5 s.\n", took(waited))
	}
}

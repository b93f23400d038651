package verify

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// within bounds one check.
	within = 5 * time.Second
	// beside is how many checks run at a time.
	beside = 6
)

// finding is what a check came to. The zero finding is a failure without words, so
// that what forgets to say is not taken for good.
type finding struct {
	ok, skipped      bool
	saw, cause, cure string
	definite         bool
	blames, spares   string
}

func good(format string, args ...any) finding {
	return finding{ok: true, saw: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) finding {
	return finding{ok: true, skipped: true, saw: fmt.Sprintf(format, args...)}
}

// bad is a failure: what was seen. Cause and cure are added by because.
func bad(format string, args ...any) finding { return finding{saw: fmt.Sprintf(format, args...)} }

func (f finding) because(cause, cure string) finding {
	f.cause, f.cure = cause, cure
	return f
}

// refusing marks a definite refusal of a version.
func (f finding) refusing(version string) finding {
	f.definite, f.blames = true, version
	return f
}

// step is a check that is still to be made.
type step struct {
	id, name string
	secrets  []string
	run      func(context.Context) finding
}

func (s step) concerns(secrets []string) bool {
	return len(secrets) == 0 || slices.ContainsFunc(s.secrets, func(name string) bool { return slices.Contains(secrets, name) })
}

// account ends the id of a whole sign-in, which is a dozen requests one after the
// other, and some passwords take a second to hash.
const account = "signin.account"

func (s step) bound() time.Duration {
	if strings.HasSuffix(s.id, account) {
		return 3 * within
	}
	return within
}

// runAll makes the checks beside each other, and returns them in their order.
func runAll(ctx context.Context, steps []step) Report {
	r := Report{OK: true, At: time.Now().UTC(), Checks: make([]Check, len(steps))}
	var group sync.WaitGroup
	places := make(chan struct{}, beside)
	for i, s := range steps {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			r.Checks[i] = runOne(ctx, s)
		})
	}
	group.Wait()
	for _, c := range r.Checks {
		r.OK = r.OK && c.OK
	}
	return r
}

func runOne(ctx context.Context, s step) (c Check) {
	ctx, cancel := context.WithTimeout(ctx, s.bound())
	defer cancel()
	began := time.Now()
	c = Check{ID: s.id, Name: s.name, Secrets: s.secrets}
	defer func() {
		if recover() != nil { // not the panic's own text: it may have anything
			c.OK, c.Saw = false, "the check itself met a defect"
			c.Cause, c.Cure = "a defect of Keyway: "+firstFrame(), "Please report it."
		}
		c.TookMS = time.Since(began).Milliseconds()
	}()
	f := s.run(ctx)
	if ctx.Err() != nil && !f.ok && f.cause == "" {
		f = f.because("it did not answer within "+s.bound().String(), "See whether it is up, and whether this machine reaches it.")
	}
	c.OK, c.Skipped, c.Saw, c.Cause, c.Cure = f.ok, f.skipped, tidy(f.saw), tidy(f.cause), tidy(f.cure)
	c.Definite, c.Blames, c.Spares = f.definite, f.blames, f.spares
	if c.OK {
		c.Cause, c.Cure = "", ""
	}
	return c
}

// firstFrame names the function of ours in which it was.
func firstFrame() string {
	for line := range strings.Lines(string(debug.Stack())) {
		if strings.HasPrefix(line, "keyway/") && !strings.Contains(line, "verify.runOne") && !strings.Contains(line, "firstFrame") {
			name, _, _ := strings.Cut(line, "(0x")
			return strings.TrimSpace(name)
		}
	}
	return "unknown"
}

// maxText bounds what is said, because peers have a word in it.
const maxText = 600

// tidy keeps what peers say in one line, of a length that a person reads.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// at is a moment as people say it who have several time zones.
func at(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05") + " UTC"
	}
	return t.Format("2006-01-02 15:04") + " UTC"
}

// span is a duration as people say it, in one unit.
func span(d time.Duration) string {
	switch d = d.Abs(); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

func many(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func list(of []string) string { return strings.Join(of, ", ") }

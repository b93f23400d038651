package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"keyway/internal/admin"
	"keyway/internal/rotation"
)

// Rotating a hundred times must not fill the screen with what is left of it.
func TestStatusShowsTheNewestRetiringVersionsOnly(t *testing.T) {
	now := time.Now()
	one := admin.SecretStatus{Name: "csrf-key", Active: "v9", Versions: []admin.VersionStatus{{ID: "v9", State: "active"}}}
	for i := 8; i > 0; i-- {
		n := i - 7
		one.Versions = append(one.Versions, admin.VersionStatus{ID: fmt.Sprintf("v%d", i), State: "retiring", Dependents: new(max(n, 0))})
	}
	var out bytes.Buffer
	printStatus(&out, painter(&streams{stdout: &out}), admin.Status{Secrets: []admin.SecretStatus{one}}, now)
	for _, want := range []string{"retiring v8: 1 depends on it\n", "retiring v7: nothing depends on it\n", "retiring v6: ", "and 5 more that are retiring; --json has them all\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "v5") {
		t.Errorf("more than the newest:\n%s", out.String())
	}
}

// What is written before it is done is said only while it is not.
func TestProgressSaysEachThingOnce(t *testing.T) {
	var out bytes.Buffer
	w := waiter{streams: &streams{stdout: &out}, told: map[string]int{}, waits: map[string]string{}}
	r := rotation.Rotation{ID: "r", Secret: "csrf-key", StartedAt: time.Now(), Waiting: "not yet held by r2", Blocked: []string{"r2"}}
	w.tell([]rotation.Rotation{r})
	r.Waiting, r.Blocked = "not yet held by 2 replicas", []string{"r2", "r3"}
	w.tell([]rotation.Rotation{r})
	r.Waiting, r.Blocked = "", nil
	r.Steps = []rotation.Step{{What: rotation.StepActivating, Detail: "every live replica holds it"}, {What: rotation.StepActivated}}
	w.tell([]rotation.Rotation{r})
	var said []string
	for line := range strings.Lines(out.String()) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), "csrf-key  ")
		said = append(said, text)
	}
	want := "waits: not yet held by r2|waits: not yet held by 2 replicas (held up by r2, r3)|activated"
	if got := strings.Join(said, "|"); got != want {
		t.Errorf("said %s, want %s", got, want)
	}

	out.Reset()
	r.ID, r.Steps = "another", r.Steps[:1]
	w.tell([]rotation.Rotation{r})
	if !strings.Contains(out.String(), "activating: every live replica holds it") {
		t.Errorf("under way, and nothing said: %s", out.String())
	}
}

// What a gateway says is of peers and of people, too, and steers no terminal: neither
// by control characters nor by turning the direction of what follows.
func TestNobodySteersTheTerminal(t *testing.T) {
	for _, r := range []rune{
		'\x00', '\a', '\b', '\n', '\r', '\x1b', '\x7f', '\u0085', '\u009b',
		'\u061c', '\u200e', '\u200f', '\u202a', '\u202b', '\u202c', '\u202d', '\u202e', '\u2066', '\u2067', '\u2068', '\u2069',
	} {
		if got := printable("a" + string(r) + "b"); got != "a?b" {
			t.Errorf("%U: %q", r, got)
		}
	}
	for _, text := range []string{"", "ada", "Жанна, 日本, עברית", "✓ “quoted” – 2 s"} {
		if got := printable(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

package cli

import (
	"bytes"
	"errors"
	"log"
	"strings"
	"testing"

	"keyway/internal/telemetry"
	"keyway/internal/threat"
)

func TestWhatAPeerSentUnaskedIsNotLogged(t *testing.T) {
	threat.Covers(t, 23)
	var out bytes.Buffer
	l, err := telemetry.NewLogger(&out, "json", "debug")
	if err != nil {
		t.Fatal(err)
	}
	std := log.New(standardLog{l}, "", 0)
	std.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=%v", "HTTP/1.1 200 OK\r\nSet-Cookie: a-secret", errors.New("a-secret"))
	std.Print("http: something else")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("want a line for each message, got\n%s", out.String())
	}
	if !strings.Contains(lines[0], "Unsolicited response") || strings.Contains(lines[0], "a-secret") || !strings.Contains(lines[0], "DEBUG") {
		t.Errorf("got %s", lines[0])
	}
	if !strings.Contains(lines[1], "http: something else") {
		t.Errorf("got %s", lines[1])
	}
}

// The default level shows none of it.
func TestTheStandardLogIsForDebugging(t *testing.T) {
	var out bytes.Buffer
	l, err := telemetry.NewLogger(&out, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	log.New(standardLog{l}, "", 0).Print("http: something")
	if out.Len() != 0 {
		t.Errorf("got %s", out.String())
	}
}

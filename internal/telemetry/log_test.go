package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"keyway/internal/secret"
	"keyway/internal/threat"
)

func TestNewLogger(t *testing.T) {
	for _, c := range []struct {
		format, level string
		json, ok      bool
	}{
		{"json", "info", true, true}, {"auto", "debug", true, true}, {"", "WARN", true, true}, {"text", "info", false, true},
		{"JSON", "error", true, true}, {"xml", "info", false, false}, {"json", "loud", false, false}, {"json", "", false, false},
	} {
		var out bytes.Buffer
		log, err := NewLogger(&out, c.format, c.level)
		if (err == nil) != c.ok {
			t.Errorf("%q %q: %v", c.format, c.level, err)
		}
		if err != nil {
			continue
		}
		log.Error("it", "token", secret.NewValue([]byte("hunter2")), "text", "a\nb \x1b[31m")
		if json.Valid(out.Bytes()) != c.json {
			t.Errorf("%q: wrote %q", c.format, &out)
		}
		if line := strings.TrimSuffix(out.String(), "\n"); strings.ContainsAny(line, "\n\x1b") || strings.Contains(line, "hunter2") {
			t.Errorf("%q: wrote %q", c.format, line)
		}
	}
}

func TestRequestEventIsOneLine(t *testing.T) {
	threat.Covers(t, 23)
	var out bytes.Buffer
	log, err := NewLogger(&out, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	e := RequestEvent{
		Start: time.Now(), Duration: 1500 * time.Microsecond, Method: "X-EVIL\n", Route: "notes", Status: 502, Bytes: 12,
		CorrelationID: "c-1", Session: "s-1", Code: "upstream_failed", Err: errors.New("connection reset\nby peer"),
	}
	e.Upstream(200, errors.New("reset"))
	e.Log(t.Context(), log)
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("wrote %q", &out)
	}
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"msg": "request", "level": "WARN", "method": "other", "route": "notes", "status": 502.0, "bytes": 12.0, "took": 1.5e6,
		"correlation_id": "c-1", "session": "s-1", "code": "upstream_failed", "error": "connection reset\nby peer", "upstream_status": 200.0,
	} {
		if line[name] != want {
			t.Errorf("%s: %v, want %v", name, line[name], want)
		}
	}
}

func TestRequestEventLevels(t *testing.T) {
	for _, c := range []struct {
		status     int
		err, upErr error
		want       string
	}{
		{200, nil, nil, "INFO"}, {404, errors.New("x"), nil, "INFO"}, {499, errors.New("gone"), nil, "INFO"},
		{500, errors.New("x"), nil, "ERROR"}, {500, nil, nil, "INFO"}, {503, errors.New("x"), nil, "WARN"}, {200, nil, errors.New("x"), "WARN"},
	} {
		var out bytes.Buffer
		log, err := NewLogger(&out, "json", "debug")
		if err != nil {
			t.Fatal(err)
		}
		e := RequestEvent{Status: c.status, Err: c.err}
		e.Upstream(0, c.upErr)
		e.Log(t.Context(), log)
		if !strings.Contains(out.String(), `"level":"`+c.want+`"`) {
			t.Errorf("%+v: %s", c, &out)
		}
	}
}

func TestRequestEventCostsNothingWhenOff(t *testing.T) {
	log, err := NewLogger(new(bytes.Buffer), "json", "error")
	if err != nil {
		t.Fatal(err)
	}
	e := &RequestEvent{Method: "GET", Status: 200}
	if n := testing.AllocsPerRun(100, func() { e.Log(t.Context(), log) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

var madeHere = regexp.MustCompile(`^[0-9a-f]{32}$`)

func TestCorrelationID(t *testing.T) {
	threat.Covers(t, 37)
	for _, c := range []struct {
		sent    []string
		trusted bool
		kept    bool
	}{
		{[]string{"abc-DEF_1.2"}, true, true},
		{[]string{strings.Repeat("a", 64)}, true, true},
		{[]string{"abc"}, false, false},
		{nil, true, false},
		{[]string{""}, true, false},
		{[]string{"a", "b"}, true, false},
		{[]string{strings.Repeat("a", 65)}, true, false},
		{[]string{"a b"}, true, false},
		{[]string{"a\nb"}, true, false},
		{[]string{"a,b"}, true, false},
		{[]string{"é"}, true, false},
		{[]string{`a"b`}, true, false},
	} {
		got := CorrelationID(http.Header{"X-Correlation-Id": c.sent}, c.trusted)
		if c.kept && got != c.sent[0] || !c.kept && !madeHere.MatchString(got) {
			t.Errorf("%q, trusted %v: %q", c.sent, c.trusted, got)
		}
	}
	seen := map[string]bool{}
	for range 1000 {
		seen[CorrelationID(nil, false)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different ids of 1000", len(seen))
	}
}

func FuzzCorrelationID(f *testing.F) {
	f.Add("abc")
	f.Add("a\r\nX: y")
	safe := regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	f.Fuzz(func(t *testing.T, sent string) {
		got := CorrelationID(http.Header{"X-Correlation-Id": {sent}}, true)
		if !safe.MatchString(got) || (got == sent) != safe.MatchString(sent) {
			t.Errorf("%q became %q", sent, got)
		}
	})
}

func BenchmarkCorrelationID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		CorrelationID(nil, false)
	}
}

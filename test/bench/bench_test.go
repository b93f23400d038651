package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the second process too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == helperArg {
		if err := runHelper(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestQuickRun has everything measured a little, and looks at nothing that
// depends on how fast it is.
func TestQuickRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	var out, progress bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-json"}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var report struct {
		CPUs   int
		Notes  []string
		Tables []struct {
			Title string
			Rows  []map[string]any
		}
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	want := []string{"Session check", "Session check", "Proxied call", "Proxied call", "Who may", "Who may", "Redis", "A request while", "Writes for", "From `rotate`", "Memory"}
	if len(report.Notes) > 0 { // no redis-server here
		want = append(want[:6:6], "A request while", "Memory")
	}
	if len(report.Tables) != len(want) {
		t.Fatalf("%d tables, want %d: %s", len(report.Tables), len(want), &out)
	}
	for i, table := range report.Tables {
		if !strings.HasPrefix(table.Title, want[i]) {
			t.Errorf("table %d is %q, want %s…", i, table.Title, want[i])
		}
		if len(table.Rows) < 2 {
			t.Errorf("%s: %d rows", table.Title, len(table.Rows))
		}
		for _, r := range table.Rows {
			if r["name"] == "" || len(r) < 2 {
				t.Errorf("%s: a row without a name or a value: %v", table.Title, r)
			}
			if strings.HasPrefix(fmt.Sprint(r["name"]), "commands") && r["value"] != 0.0 {
				t.Errorf("%v: %v, want none: the session was just used", r["name"], r["value"])
			}
		}
	}
}

func TestWrongCall(t *testing.T) {
	for _, args := range [][]string{{"-only", "verify,coffee"}, {"-cpuprofile", "x", "-only", "memory"}, {"-loud"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if err := run(t.Context(), append(args, "-quick"), io.Discard, io.Discard); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

func TestReport(t *testing.T) {
	r := report{Date: "2026-01-02", Go: "go1", System: "os/arch", CPUs: 2, Notes: []string{"a note"}, Tables: []table{{
		Title:   "Things",
		Columns: []column{{"ns", "ns/op", 0}, {"ratio", "× bare", 2}},
		Rows:    []row{{"one", []float64{1234.4, 1}}, {"the other one", []float64{20, none}}},
		Notes:   []string{"of no use"},
	}}}
	var text bytes.Buffer
	if err := r.text(&text); err != nil {
		t.Fatal(err)
	}
	want := `2026-01-02, go1, os/arch, 2 CPUs
a note

Things
                     ns/op   × bare
     one              1234     1.00
     the other one      20
  of no use
`
	var got strings.Builder
	for line := range strings.Lines(text.String()) {
		got.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
	var asJSON bytes.Buffer
	if err := r.json(&asJSON); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"ns": 1234`, `"ratio": 1.00`, `"name": "the other one"`} {
		if !strings.Contains(asJSON.String(), part) {
			t.Errorf("no %s in %s", part, &asJSON)
		}
	}
	if strings.Count(asJSON.String(), "ratio") != 1 {
		t.Errorf("a value that is left out is there: %s", &asJSON)
	}
}

func TestReadAnswer(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi"
	for _, tc := range []struct{ name, in, wrong string }{
		{"two in a row", ok + ok, ""},
		{"not 200", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "expected 200"},
		{"no length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Content-Length"},
		{"half", ok[:len(ok)-1], "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(tc.in))
			var err error
			for err == nil {
				if _, end := r.Peek(1); end == io.EOF {
					break
				}
				err = readAnswer(r)
			}
			if tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("got %v, want %q", err, tc.wrong)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	all := []time.Duration{5, 1, 4, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, .5: 3, .99: 5, 1: 5} {
		if got := quantile(all, q); got != want {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
}

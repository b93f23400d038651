package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const list = header + `
1	P0	A Login	State	wrong	400	RFC
2	P0	A Login	iss	missing	abort	RFC
3	P1	B Session	Flags	a|b	c	RFC
4	P0	B Session	Leak	x	y	RFC
`

const stream = `{"Action":"output","Package":"keyway/internal/oidc","Test":"TestState/wrong","Output":"    a_test.go:3: threat 1\n"}
{"Action":"pass","Package":"keyway/internal/oidc","Test":"TestState/wrong"}
{"Action":"output","Package":"keyway/internal/oidc","Test":"TestState/none","Output":"    a_test.go:3: threat 1\n"}
{"Action":"pass","Package":"keyway/internal/oidc","Test":"TestState/none"}
{"Action":"output","Package":"keyway/internal/oidc","Test":"TestIss","Output":"    a_test.go:3: threat 2\n"}
{"Action":"fail","Package":"keyway/internal/oidc","Test":"TestIss"}
{"Action":"output","Package":"keyway/internal/session","Test":"TestFlags/b","Output":"    a_test.go:3: threat 3\n"}
{"Action":"output","Package":"keyway/internal/session","Test":"TestFlags/b","Output":"    a_test.go:4: threat 4 is not what this says\n"}
{"Action":"pass","Package":"keyway/internal/session","Test":"TestFlags/b"}
`

func files(t *testing.T, list, stream string) (listFile, streamFile, table string) {
	dir := t.TempDir()
	listFile, streamFile, table = filepath.Join(dir, "cases.tsv"), filepath.Join(dir, "test.json"), filepath.Join(dir, "threats.md")
	for f, text := range map[string]string{listFile: list, streamFile: stream} {
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return listFile, streamFile, table
}

func TestTableSaysWhatTheRunHasShown(t *testing.T) {
	l, s, table := files(t, list, stream)
	if err := run(s, l, table, false); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| A Login | 1 of 2 | 1 of 2 |\n| B Session | 1 of 2 | 0 of 1 |\n| all | 2 of 4 | 1 of 3 |",
		"| 1 | P0 | State | wrong | 400 | held | `internal/oidc.TestState` (2) | RFC |",
		"| 2 | P0 | iss | missing | abort | failing | `internal/oidc.TestIss` | RFC |",
		"| 3 | P1 | Flags | a\\|b | c | held | `internal/session.TestFlags/b` | RFC |",
		"| 4 | P0 | Leak | x | y | open |  | RFC |",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the table lacks %q:\n%s", want, b)
		}
	}
}

func TestCheck(t *testing.T) {
	l, s, table := files(t, list, stream)
	if err := run(s, l, table, true); err == nil {
		t.Error("no table, and no complaint")
	}
	if err := run(s, l, table, false); err != nil {
		t.Fatal(err)
	}
	if err := run(s, l, table, true); err != nil {
		t.Errorf("the table just made is refused: %v", err)
	}
	os.WriteFile(s, []byte(strings.ReplaceAll(stream, `"fail"`, `"pass"`)), 0o600)
	err := run(s, l, table, true)
	if err == nil || !strings.Contains(err.Error(), "make threats") {
		t.Errorf("a stale table: %v, want what to run", err)
	}
}

func TestBadInput(t *testing.T) {
	for name, tc := range map[string]struct{ list, stream, want string }{
		"a case that is not on the list": {list, strings.ReplaceAll(stream, "threat 2", "threat 99"), "covers threat 99"},
		"a gap in the numbers":           {strings.Replace(list, "\n2\t", "\n5\t", 1), stream, "expected case 2"},
		"a column too few":               {list + "5\tP0\tA\n", stream, "expected 7 columns, found 3"},
		"other columns":                  {"x\n", stream, "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			l, s, table := files(t, tc.list, tc.stream)
			if err := run(s, l, table, false); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	t.Run("no run yet", func(t *testing.T) {
		l, s, table := files(t, list, stream)
		os.Remove(s)
		if err := run(s, l, table, true); err == nil || !strings.Contains(err.Error(), "make unit") {
			t.Errorf("got %v, want what to run", err)
		}
	})
}

func TestTheRealListHas72Cases(t *testing.T) {
	f, err := os.Open("cases.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cases, err := readCases(f)
	if err != nil || len(cases) != 72 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
}

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"keyway/internal/testkit/leakhunt"
)

// known are values that the documentation prints, for use on loopback only.
var known = []string{"demo-machine-secret-for-loopback-only"}

// gathered is what the tests have written down.
type gathered struct {
	secrets     []leakhunt.SecretRecord // each value once
	kinds       map[string]int
	outputs     []output
	outputCount int
	bytes       int
	perOutput   map[string]tally
	streamed    bool // the output of go test is among them
}

type output struct {
	where, test string
	text        []byte
}

type tally struct{ count, bytes int }

// find is a secret where it must not be.
type find struct {
	what, usedBy, form string
	where, test        string
	around             string // with the secret left out
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// gather reads all files in dir, and the output of go test -json.
func gather(dir, stream string) (*gathered, error) {
	g := &gathered{kinds: map[string]int{}, perOutput: map[string]tally{}}
	files, err := filepath.Glob(filepath.Join(dir, "*"+leakhunt.SecretsFile))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("expected files of secrets in %s, found none: run the tests with %s set to it", dir, leakhunt.Env)
	}
	seen := map[string]bool{}
	for _, name := range files {
		if err := g.read(name, seen); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if stream != "" {
		g.streamed = true
		if err := g.readStream(stream); err != nil {
			return nil, fmt.Errorf("%s: %w", stream, err)
		}
	}
	return g, nil
}

func (g *gathered) read(name string, seen map[string]bool) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	secrets, err := leakhunt.ReadSecrets(text)
	if err != nil {
		return err
	}
	for _, s := range secrets {
		if seen[string(s.Value)] || slices.Contains(known, string(s.Value)) {
			continue
		}
		seen[string(s.Value)] = true
		g.secrets = append(g.secrets, s)
		g.kinds[s.What]++
	}
	if text, err = os.ReadFile(name + leakhunt.OutputsFile); err != nil {
		return err
	}
	return leakhunt.ReadOutputs(text, func(o leakhunt.OutputRecord, text []byte) { g.add(output{o.Where, o.Test, text}) })
}

func (g *gathered) add(o output) {
	g.outputs = append(g.outputs, o)
	g.outputCount++
	g.bytes += len(o.text)
	t := g.perOutput[o.where]
	g.perOutput[o.where] = tally{t.count + 1, t.bytes + len(o.text)}
}

// readStream puts together what each test has printed: go test -json cuts long lines,
// and mixes those of tests that run at once.
func (g *gathered) readStream(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	type of struct{ Package, Test string }
	texts := map[of]*bytes.Buffer{}
	in := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e struct{ Action, Package, Test, Output string }
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("line %d: expected an event of go test -json: %w", n, err)
			}
			at := of{e.Package, e.Test}
			if texts[at] == nil {
				texts[at] = &bytes.Buffer{}
			}
			texts[at].WriteString(e.Output)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	for at, text := range texts {
		if text.Len() > 0 {
			g.add(output{"go test", strings.TrimSpace(at.Package + " " + at.Test), text.Bytes()})
		}
	}
	return nil
}

// hunt looks for all secrets in all outputs. One that is found in several forms, or
// again and again in one output, is told of once.
func (g *gathered) hunt() []find {
	type pattern struct {
		secret int
		form   form
	}
	var patterns []pattern
	x := newIndex()
	for i, s := range g.secrets {
		for _, f := range formsOf(string(s.Value)) {
			x.add(f.text, len(patterns))
			patterns = append(patterns, pattern{i, f})
		}
	}
	var found []find
	for _, o := range g.outputs {
		told := map[int]bool{}
		x.search(o.text, func(id, at int) {
			p := patterns[id]
			if told[p.secret] {
				return
			}
			told[p.secret] = true
			s := g.secrets[p.secret]
			found = append(found, find{s.What, s.Test, p.form.name, o.where, o.test, around(o.text, at, len(p.form.text))})
		})
		// The record's own signatures have the form of a token (RFC 7515), tests print
		// ones that they have made up, and numbers are none.
		if o.where != "go test" && o.where != "audit" && o.where != "metrics" {
			if at, n := aToken(o.text); n > 0 && len(told) == 0 {
				found = append(found, find{"a JSON web token that nobody told of", "", "as it is", o.where, o.test, around(o.text, at, n)})
			}
		}
	}
	return found
}

// around is the text beside a find, with the find left out.
func around(text []byte, at, n int) string {
	before := text[max(0, at-60):at]
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		before = before[i+1:]
	}
	return fmt.Sprintf("%q", string(before)+"…")
}

// aToken finds the first JSON web token (RFC 7515 section 3.1): three parts in
// base64url, of which the first two begin a JSON object.
func aToken(text []byte) (at, n int) {
	for from := 0; ; {
		i := bytes.Index(text[from:], []byte("eyJ"))
		if i < 0 {
			return 0, 0
		}
		at = from + i
		end := at
		var parts [3]int
		for p := range parts {
			start := end
			for end < len(text) && isBase64URL(text[end]) {
				end++
			}
			parts[p] = end - start
			if p < 2 {
				if end >= len(text) || text[end] != '.' {
					break
				}
				end++
			}
		}
		if parts[0] >= 12 && parts[1] >= 12 && parts[2] >= 12 {
			return at, end - at
		}
		from = at + 3
	}
}

func isBase64URL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

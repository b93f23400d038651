package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File        string `json:"file,omitempty"`        // the path of the file
	Line        int    `json:"line,omitempty"`        // from 1; 0 if the problem is not in one line
	Column      int    `json:"column,omitempty"`      // from 1
	Environment string `json:"environment,omitempty"` // the variable, if it is in the environment
	Key         string `json:"key,omitempty"`         // the key, as in routes[2].auth
	Found       string `json:"found"`                 // what is wrong
	Want        string `json:"want,omitempty"`        // what would be right
}

// Where is file:line:column, or environment: NAME.
func (p Problem) Where() string {
	switch {
	case p.Environment != "":
		return "environment: " + p.Environment
	case p.Line > 0:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	return p.File
}

func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Where() + ": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Found)
	if p.Want != "" {
		b.WriteString("; " + p.Want)
	}
	return b.String()
}

// InvalidError is every problem of a configuration, in the order of the files
// and their lines, the environment last.
type InvalidError struct {
	Problems []Problem
}

func (e *InvalidError) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	for _, p := range e.Problems {
		lines = append(lines, p.Error())
	}
	return fmt.Sprintf("the configuration has %d problem(s):\n  %s", len(e.Problems), strings.Join(lines, "\n  "))
}

// valueError is what a parser of one value found and would have liked.
type valueError struct{ found, want string }

func (e *valueError) Error() string { return "found " + e.found + "; " + e.want }

// bad makes a valueError.
func bad(found, want string) error { return &valueError{found, want} }

// mark is where a value came from.
type mark struct {
	file         string
	line, column int
	env          string
}

// String is file:line:column.
func (m mark) String() string {
	return Problem{File: m.file, Line: m.line, Column: m.column, Environment: m.env}.Where()
}

// findings collects problems and notes while a configuration is read.
type findings struct {
	problems []Problem
	notes    []Problem
	files    []string // the order to report them in
}

func makeProblem(m mark, key, found, want string) Problem {
	return Problem{File: m.file, Line: m.line, Column: m.column, Environment: m.env, Key: key, Found: found, Want: want}
}

func (f *findings) add(m mark, key, found, want string) {
	f.problems = append(f.problems, makeProblem(m, key, found, want))
}

// addErr adds what a parser of one value said.
func (f *findings) addErr(m mark, key string, err error) {
	if v, ok := errors.AsType[*valueError](err); ok {
		f.add(m, key, "found "+v.found, v.want)
		return
	}
	f.add(m, key, err.Error(), "")
}

// note is for what is allowed and probably not meant.
func (f *findings) note(m mark, key, found, want string) {
	f.notes = append(f.notes, makeProblem(m, key, found, want))
}

// sorted orders by file, line and column, the environment last.
func (f *findings) sorted(ps []Problem) []Problem {
	rank := func(p Problem) int {
		if p.Environment != "" {
			return len(f.files) + 1
		}
		if i := slices.Index(f.files, p.File); i >= 0 {
			return i
		}
		return -1
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Environment, b.Environment))
	})
	return ps
}

package app

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"keyway/internal/authz"
	"keyway/internal/authz/cedar"
	"keyway/internal/config"
	"keyway/internal/route"
)

// openPolicies reads the folder that a configuration names. Its error says where that is.
func openPolicies(c *config.Config) (*cedar.Point, error) {
	folder, err := cedar.Open(c.PDP.Policies)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.PoliciesAt("", "").Where(), err)
	}
	return folder, nil
}

// CheckPolicies reads the folder of policies as the start would. Problems are what the
// start would be refused for. A folder that is not there is a note: it may be where the
// gateway runs, and the configuration is checked elsewhere.
func CheckPolicies(c *config.Config) (problems, notes []config.Problem) {
	if !c.PDP.Embedded() {
		return nil, nil
	}
	folder, err := cedar.Open(c.PDP.Policies)
	wrong, ok := errors.AsType[*cedar.Error](err)
	switch {
	case ok:
		for _, p := range wrong.Problems {
			problems = append(problems, c.PoliciesAt("in "+wrong.Folder+": "+p, ""))
		}
		return problems, nil
	case err != nil:
		found := strings.TrimPrefix(err.Error(), "policies: ")
		want := "a folder with *.cedar, relative to the working directory of the gateway; without it the start is refused"
		if errors.Is(err, fs.ErrNotExist) {
			want += ". If it is there where the gateway runs, there is nothing to do here"
		}
		return nil, []config.Problem{c.PoliciesAt(found, want)}
	}
	return nil, policyNotes(c, folder)
}

// policyNotes are about policies that can be used, and permit nothing.
func policyNotes(c *config.Config, folder *cedar.Point) (notes []config.Problem) {
	if folder.Policies() == 0 {
		notes = append(notes, c.PoliciesAt("no policies in "+c.PDP.Policies+": nothing is permitted, and each route with authz: pdp answers 403", "policies in files *.cedar in the folder itself"))
	}
	known := folder.Known()
	if known == nil {
		return notes
	}
	for _, r := range c.Routes.Routes() {
		if r.Authz != route.AuthzPDP {
			continue
		}
		subjects := []string{c.PDP.SubjectType}
		if r.Auth == route.AuthBearer {
			subjects = append(subjects, authz.SubjectClient)
		}
		for _, method := range r.EffectiveMethods() {
			asked, ok := c.Asked(r, method)
			if !ok {
				continue
			}
			wrong := known.Asked(subjects, asked.Mapping.Action, asked.Mapping.Resource)
			if wrong == nil {
				continue
			}
			source := asked.Source
			if source == "" { // derived
				source = r.Source
			}
			note := problemAt(source, fmt.Sprintf("%s of route %s asks what %s in %s has no place for: %v", method, r, cedar.SchemaFile, c.PDP.Policies, wrong), "the same names in the mapping, in the schema and in the policies; else it is always 403")
			if !slices.ContainsFunc(notes, func(n config.Problem) bool { return n.Where() == note.Where() }) { // HEAD asks as GET does
				notes = append(notes, note)
			}
		}
	}
	return notes
}

// problemAt is a problem at file:line:column.
func problemAt(source, found, want string) config.Problem {
	p := config.Problem{File: source, Found: found, Want: want}
	rest, column, ok := cutLast(source)
	file, line, ok2 := cutLast(rest)
	if ok && ok2 {
		p.File, p.Line, p.Column = file, line, column
	}
	return p
}

func cutLast(text string) (before string, n int, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return text, 0, false
	}
	n, err := strconv.Atoi(text[i+1:])
	return text[:i], n, err == nil
}

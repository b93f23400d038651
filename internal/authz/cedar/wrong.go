package cedar

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// What the library says, in the words of who has to mend it: where, what was found,
// what would be right.

var (
	parserSays = regexp.MustCompile(`^parser error: parse error at <input>:(\d+):(\d+) (".*?"): (.*)$`)
	exactSays  = regexp.MustCompile(`^exact got (.*?) ?want (.*)$`)
	gotSays    = regexp.MustCompile(`^got (.*?) ?want ,$`)
	effectSays = regexp.MustCompile(`^unexpected effect: (.*)$`)
	policySays = regexp.MustCompile("^for policy `[^`]*`, ")
)

// plainer are complaints of the parser that say nothing to who does not know it.
var plainer = map[string]string{
	"expected ident":                     "expected a name",
	"expected string":                    "expected a text in quotes",
	"expected ident or string":           "expected a name or a text in quotes",
	"expected ident or reserved keyword": "expected a name behind @",
	"expected ident after dot":           "expected a name behind .",
	"invalid primary":                    "expected a value",
}

// syntaxError is what is wrong with the text of a file of policies. The parser tells
// the place behind what it did not expect; that place is looked for.
func syntaxError(name string, text []byte, err error) string {
	said := oneLine(err)
	m := parserSays.FindStringSubmatch(said)
	if m == nil {
		said = strings.TrimPrefix(said, "parser error: ")
		if place, ok := strings.CutPrefix(said, "<input>:"); ok {
			return name + ":" + place
		}
		return name + ": " + strings.ReplaceAll(said, "<input>", name)
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	next, _ := strconv.Unquote(m[3])
	what := m[4]
	found := func(token string) string {
		if token == "" {
			return "the end of the file"
		}
		return strconv.Quote(token)
	}
	before := func(token string) { line, column = placeBefore(text, line, column, token) }
	switch {
	case exactSays.MatchString(what):
		m := exactSays.FindStringSubmatch(what)
		got, want := m[1], m[2]
		before(got)
		what = fmt.Sprintf("found %s, expected %q", found(got), want)
		if want == ";" {
			what += ": each policy ends with one"
			if got == "@" || got == "permit" || got == "forbid" || got == "" {
				what += ", and the one before lacks it"
			}
		}
	case gotSays.MatchString(what):
		what = fmt.Sprintf("found %s, expected \",\"", found(gotSays.FindStringSubmatch(what)[1]))
	case effectSays.MatchString(what):
		got := effectSays.FindStringSubmatch(what)[1]
		before(got)
		what = fmt.Sprintf("found %s, expected permit or forbid: so a policy begins", found(got))
	default:
		if plain, ok := plainer[what]; ok {
			what = plain
		}
		what = fmt.Sprintf("at or before %s: %s", found(next), what)
	}
	return fmt.Sprintf("%s:%d:%d: %s", name, line, column, what)
}

// placeBefore is where token is last before a place, of which the column counts bytes or
// characters: it stays where it is if it is not found.
func placeBefore(text []byte, line, column int, token string) (int, int) {
	lines := strings.Split(string(text), "\n")
	if token == "" || line < 1 || line > len(lines) {
		return line, column
	}
	end := min(max(column-1, 0), len(lines[line-1]))
	for n, part := line, lines[line-1][:end]; ; {
		code, _, _ := strings.Cut(part, "//")
		if i := strings.LastIndex(code, token); i >= 0 {
			return n, i + 1
		}
		if n--; n < 1 {
			return line, column
		}
		part = lines[n-1]
	}
}

// invalid is what a schema has against a policy.
func invalid(err error, known *Known) string {
	all := []error{err}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		all = several.Unwrap()
	}
	var said []string
	for _, e := range all {
		text := policySays.ReplaceAllString(oneLine(e), "")
		switch {
		case text == "unable to find an applicable action given the policy scope constraints":
			if len(said) > 0 {
				continue // that follows
			}
			text = "no action of the schema is about such a principal and resource; " + known.pairs()
		case strings.HasPrefix(text, "unrecognized action "):
			text += ", " + known.actions()
		case strings.HasPrefix(text, "unrecognized entity type "):
			text += ", " + known.entities()
		case strings.HasPrefix(text, "unable to guarantee safety of access to optional attribute "):
			text = strings.TrimPrefix(text, "unable to guarantee safety of access to optional ")
			name, _, _ := strings.Cut(strings.TrimPrefix(text, "attribute `"), "`")
			text += " may be missing; ask for it before: … has " + name + " && …"
		}
		if !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	return strings.Join(said, "; ")
}

// Known is what a schema knows. Nobody changes it.
type Known struct {
	schema *resolved.Schema
}

// mostNames is how many names are told.
const mostNames = 12

func names(all []string) string {
	slices.Sort(all)
	if len(all) == 0 {
		return "none"
	}
	if n := len(all) - mostNames; n > 0 {
		all = append(all[:mostNames:mostNames], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, ", ")
}

func (k *Known) actions() string {
	var all []string
	for uid, a := range k.schema.Actions {
		if a.AppliesTo != nil {
			all = append(all, uid.String())
		}
	}
	return "expected one of the schema: " + names(all)
}

func (k *Known) entities() string {
	var all []string
	for t := range k.schema.Entities {
		all = append(all, string(t))
	}
	for t := range k.schema.Enums {
		all = append(all, string(t))
	}
	return "expected one of the schema: " + names(all)
}

func (k *Known) pairs() string {
	var all []string
	for uid, a := range k.schema.Actions {
		if a.AppliesTo != nil {
			all = append(all, fmt.Sprintf("%s of [%s] for [%s]", uid.ID, join(a.AppliesTo.Principals), join(a.AppliesTo.Resources)))
		}
	}
	return "there are " + names(all)
}

func join(all []types.EntityType) string {
	var texts []string
	for _, t := range all {
		texts = append(texts, string(t))
	}
	return strings.Join(texts, " ")
}

// Asked says what is wrong, by the schema, with questions whether somebody of one of the
// types of subjects may do an action to a resource of a type: nil if nothing is. It is
// denied whatever the policies say.
func (k *Known) Asked(subjects []string, action, resource string) error {
	_, isEntity := k.schema.Entities[types.EntityType(resource)]
	_, isEnum := k.schema.Enums[types.EntityType(resource)]
	if !isEntity && !isEnum {
		return fmt.Errorf("the resource type %q is not known, %s", resource, k.entities())
	}
	a, ok := k.schema.Actions[types.NewEntityUID(actionType, types.String(action))]
	if !ok || a.AppliesTo == nil {
		return fmt.Errorf("the action %q is not known, %s", action, k.actions())
	}
	if !slices.Contains(a.AppliesTo.Resources, types.EntityType(resource)) {
		return fmt.Errorf("the action %q is for %s only, and not for %q", action, join(a.AppliesTo.Resources), resource)
	}
	for _, s := range subjects {
		if slices.Contains(a.AppliesTo.Principals, types.EntityType(s)) {
			return nil
		}
	}
	return errors.New("the action " + strconv.Quote(action) + " is of " + join(a.AppliesTo.Principals) + " only, and who asks is a " + strings.Join(subjects, " or a "))
}

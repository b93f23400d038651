package route

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Bounds of one pattern. They keep matching and overlap checks cheap, and are
// far above what a real API needs.
const (
	MaxPatternBytes    = 1024
	MaxPatternSegments = 64
	MaxPatternParams   = 8
)

// Pattern is a parsed path pattern: literal segments, {param} for exactly one
// non-empty segment, and a trailing * for whatever follows its slash, which may
// be empty. /api/* therefore matches /api/ and /api/a/b, but not /api.
type Pattern struct {
	text string
	segs []segment
	star bool // the pattern ends in *; segs holds what is before it
}

// segment is a literal, decoded, or a parameter.
type segment struct {
	param bool
	text  string
}

var (
	paramName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

	errNoSlash = errors.New("a path starts with a slash, as in /api/notes")
)

// ParsePattern reads a pattern. Its errors say what would be right.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	if !strings.HasPrefix(text, "/") {
		return Pattern{}, errNoSlash
	}
	if len(text) > MaxPatternBytes {
		return Pattern{}, fmt.Errorf("a path pattern has at most %d bytes, this one has %d", MaxPatternBytes, len(text))
	}
	parts := strings.Split(text[1:], "/")
	if len(parts) > MaxPatternSegments {
		return Pattern{}, fmt.Errorf("a path pattern has at most %d segments, this one has %d", MaxPatternSegments, len(parts))
	}
	for i, part := range parts {
		last := i == len(parts)-1
		switch {
		case part == "*" && last:
			p.star = true
		case part == "" && !last:
			return Pattern{}, errors.New("an empty segment (//) matches no request; write a single slash")
		case strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}"):
			if err := p.addParam(part[1 : len(part)-1]); err != nil {
				return Pattern{}, err
			}
		case strings.Contains(part, "*"):
			return Pattern{}, errors.New("* stands alone, at the end, after a slash, as in /api/*")
		case strings.ContainsAny(part, "{}"):
			return Pattern{}, errors.New("{param} stands for a whole segment, as in /users/{id}/notes")
		default:
			lit, err := parseLiteral(part)
			if err != nil {
				return Pattern{}, err
			}
			p.segs = append(p.segs, segment{text: lit})
		}
	}
	return p, nil
}

func (p *Pattern) addParam(name string) error {
	switch {
	case !paramName.MatchString(name):
		return fmt.Errorf("{%s} is not a parameter: a name has letters, digits and _, and starts with a letter", name)
	case name == "path":
		return errors.New("{path} is what * matched, in upstream_path; call the parameter something else")
	case slices.Contains(p.Params(), name):
		return fmt.Errorf("{%s} appears twice; each parameter needs a name of its own", name)
	case len(p.Params()) == MaxPatternParams:
		return fmt.Errorf("a path pattern has at most %d parameters", MaxPatternParams)
	}
	p.segs = append(p.segs, segment{param: true, text: name})
	return nil
}

// parseLiteral decodes a literal segment and makes sure that a request could
// carry it at all.
func parseLiteral(part string) (string, error) {
	dec, ok := decode(part)
	if !ok {
		return "", errors.New("% starts a percent-escape of two hex digits, as in %20")
	}
	if e := canonical("/" + url.PathEscape(dec)); e != nil {
		return "", fmt.Errorf("no request can match it, since such paths are refused: %s", e.Reason)
	}
	return dec, nil
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Params are the parameter names, in order.
func (p Pattern) Params() []string {
	var names []string
	for _, s := range p.segs {
		if s.param {
			names = append(names, s.text)
		}
	}
	return names
}

// HasWildcard says whether the pattern ends in *.
func (p Pattern) HasWildcard() bool { return p.star }

// Overlap returns a path that both patterns match, if there is one. The answer
// is exact. With fold, letter case in literals is ignored.
func (p Pattern) Overlap(q Pattern, fold bool) (example string, overlap bool) {
	if len(p.segs) < len(q.segs) {
		p, q = q, p
	}
	// p is now at least as long. q must reach p's end, by its own segments or
	// by its *, and p's * must leave q nothing to want.
	if len(q.segs) < len(p.segs) && !q.star {
		return "", false
	}
	if len(q.segs) == len(p.segs) && p.star != q.star {
		return "", false // the * wants one more segment than the other has
	}
	var b strings.Builder
	for i, s := range p.segs {
		lit := s
		if i < len(q.segs) {
			t := q.segs[i]
			switch {
			case s.param && t.param:
			case s.param:
				lit = t
			case t.param:
			case s.text == t.text || fold && strings.EqualFold(s.text, t.text):
			default:
				return "", false
			}
			// A parameter never matches the empty segment after a last slash.
			if !lit.param && lit.text == "" && (s.param || t.param) {
				return "", false
			}
		}
		b.WriteByte('/')
		if lit.param {
			b.WriteByte('x')
		} else {
			b.WriteString(url.PathEscape(lit.text))
		}
	}
	if p.star {
		b.WriteString("/x")
	}
	return b.String(), true
}

package route

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// template is a parsed upstream_path.
type template struct {
	parts []part
}

// part is a piece of a template: text as it is, or the raw value of a
// parameter, or the raw rest.
type part struct {
	text  string
	param int // index into the pattern's parameters, if kind says so
	kind  partKind
}

type partKind uint8

const (
	partText partKind = iota
	partParam
	partRest
)

// CheckTemplate says what is wrong with an upstream_path for a pattern, if
// anything.
func CheckTemplate(upstreamPath string, p Pattern) error {
	_, err := parseTemplate(upstreamPath, p)
	return err
}

// parseTemplate insists on whole segments, so that no two pieces, each
// harmless, can join into an escape or a dot segment.
func parseTemplate(text string, p Pattern) (template, error) {
	var t template
	if !strings.HasPrefix(text, "/") {
		return t, errNoSlash
	}
	params := p.Params()
	segs := strings.Split(text[1:], "/")
	plain := make([]string, len(segs))
	for i, s := range segs {
		t.add("/")
		plain[i] = s
		if !strings.ContainsAny(s, "{}*") {
			t.add(s)
			continue
		}
		name, ok := strings.CutPrefix(s, "{")
		name, ok2 := strings.CutSuffix(name, "}")
		switch n := slices.Index(params, name); {
		case !ok || !ok2:
			return template{}, fmt.Errorf("%q: a placeholder is a whole segment: {param}, or {path} for what * matched", s)
		case name == "path" && !p.star:
			return template{}, fmt.Errorf("{path} is what * matched, but the path %s has no *", p.text)
		case name == "path" && i != len(segs)-1:
			return template{}, errors.New("{path} can only be the end of it, since what * matched may be empty or end in a slash")
		case name == "path":
			t.parts = append(t.parts, part{kind: partRest})
		case n < 0:
			return template{}, fmt.Errorf("{%s} is not in the path %s, which has %s", name, p.text, listParams(p))
		default:
			t.parts = append(t.parts, part{kind: partParam, param: n})
		}
		plain[i] = "x"
	}
	if e := canonical("/" + strings.Join(plain, "/")); e != nil {
		return template{}, fmt.Errorf("it would be refused as a request path: %s", e.Reason)
	}
	return t, nil
}

// add appends literal text, joined to literal text before it.
func (t *template) add(s string) {
	if n := len(t.parts); n > 0 && t.parts[n-1].kind == partText {
		t.parts[n-1].text += s
		return
	}
	t.parts = append(t.parts, part{text: s})
}

func listParams(p Pattern) string {
	var names []string
	for _, n := range p.Params() {
		names = append(names, "{"+n+"}")
	}
	if p.star {
		names = append(names, "{path}")
	}
	if len(names) == 0 {
		return "no placeholders"
	}
	return strings.Join(names, ", ")
}

// UpstreamPath is the escaped path to ask the upstream for, below the service's
// base URL. What came from the request is in it byte for byte. It is canonical.
func (m *Match) UpstreamPath() string {
	if len(m.entry.tmpl.parts) == 0 {
		return m.path
	}
	var b strings.Builder
	b.Grow(len(m.entry.Route.UpstreamPath) + len(m.path))
	for _, p := range m.entry.tmpl.parts {
		switch p.kind {
		case partText:
			b.WriteString(p.text)
		case partParam:
			b.WriteString(m.raw(p.param))
		case partRest:
			b.WriteString(m.Rest())
		}
	}
	return b.String()
}

// Join puts an escaped path and a raw query, both already checked, below a base
// URL, so that they are sent byte for byte. base is not changed.
func Join(base *url.URL, escapedPath, rawQuery string) *url.URL {
	u := *base
	u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + escapedPath
	// Both halves decode: base by its parser, the path by Canonical.
	u.Path, _ = decode(u.RawPath)
	u.RawQuery = rawQuery
	return &u
}

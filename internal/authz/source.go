package authz

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/speakeasy-api/jsonpath/pkg/jsonpath"
	"gopkg.in/yaml.v3"
)

// Facts are what a request says. Each is asked for only if a mapping needs it.
type Facts interface {
	// Param is a path parameter, decoded.
	Param(name string) (string, bool)
	// RawQuery is the query, as it is forwarded.
	RawQuery() string
	// Body is the request's body, as it is forwarded; an error if there is none, it is
	// no JSON by its Content-Type, or too large.
	Body() ([]byte, error)
}

// source is where a value is read from.
type source struct {
	text     string // as it was written; of a constant, its value
	constant bool
	param    string
	query    string
	path     *jsonpath.JSONPath
	single   bool // the path has one value or none (RFC 9535 section 2.3.5.1)
	folded   *jsonpath.JSONPath
}

// Constant is in front of a constant that could be taken for something else.
const Constant = "="

// parseSource reads "{param}", "?name", "$.a.b" (RFC 9535), or a constant: all other
// text, and whatever is behind a Constant.
func parseSource(text string) (source, error) {
	s := source{text: text}
	switch {
	case strings.HasPrefix(text, "{"):
		name, ok := strings.CutSuffix(text[1:], "}")
		if !ok || name == "" {
			return s, errors.New("expected {param}, a parameter of the path")
		}
		s.param = name
	case strings.HasPrefix(text, "?"):
		if s.query = text[1:]; s.query == "" {
			return s, errors.New("expected ?name, a parameter of the query")
		}
	case strings.HasPrefix(text, "$"):
		path, err := jsonpath.NewPath(text)
		if err != nil {
			return s, errors.New("expected JSONPath such as $.note.id (RFC 9535)")
		}
		s.path, s.single = path, isSingular(text)
		if s.folded, err = foldedPath(text); err != nil {
			return s, errors.New("expected JSONPath such as $.note.id (RFC 9535)")
		}
	default:
		s.text, s.constant = strings.TrimPrefix(text, Constant), true
	}
	return s, nil
}

// isSingular reports whether a well-formed query has only names and indexes.
func isSingular(query string) bool {
	var quote byte
	for i := 1; i < len(query); i++ {
		switch c := query[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '*' || c == '?' || c == ':' || c == ',':
			return false
		case c == '.' && i+1 < len(query) && query[i+1] == '.':
			return false
		}
	}
	return true
}

// errAbsent is a value that the request does not have.
var errAbsent = errors.New("it is not there")

// reading is a request that is being read; what was parsed is kept.
type reading struct {
	facts Facts
	query map[string][]string
	body  *yaml.Node
	// folded is body by the readers that don't see case.
	folded *yaml.Node
}

// value is what the request has there. errAbsent: nothing.
func (r *reading) value(s *source) (any, error) {
	switch {
	case s.constant:
		return s.text, nil
	case s.param != "":
		if v, ok := r.facts.Param(s.param); ok {
			return readable(v)
		}
		return nil, errAbsent
	case s.query != "":
		return r.fromQuery(s.query)
	}
	return r.fromBody(s)
}

// fromQuery wants a parameter once: of two, one program reads the first, another
// the last.
func (r *reading) fromQuery(name string) (any, error) {
	if r.query == nil {
		parsed, err := url.ParseQuery(r.facts.RawQuery())
		if err != nil {
			return nil, errors.New("the query can't be read")
		}
		r.query = parsed
	}
	if !spelledOnceIn(r.query, name) {
		return nil, errSpelling
	}
	switch values := r.query[name]; len(values) {
	case 0:
		return nil, errAbsent
	case 1:
		return readable(values[0])
	default:
		return nil, errors.New("it is there twice")
	}
}

func (r *reading) fromBody(s *source) (found any, err error) {
	if r.body == nil {
		raw, err := r.facts.Body()
		if err != nil {
			return nil, err
		}
		if r.body, err = document(raw); err != nil {
			return nil, err
		}
		r.folded = foldedNode(r.body)
	}
	defer func() {
		// The document is a stranger's, and the query is walked by a library.
		if recover() != nil {
			found, err = nil, errors.New("the body can't be searched")
		}
	}()
	nodes := s.path.Query(r.body)
	if !s.spelledOnce(r.folded, len(nodes)) {
		return nil, errSpelling
	}
	if !s.single {
		list := make([]any, len(nodes))
		for i, n := range nodes {
			if list[i], err = plainValue(n); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	if len(nodes) == 0 {
		return nil, errAbsent
	}
	return plainValue(nodes[0])
}

const maxExact = 1<<53 - 1

// identifier is what the request has there as the id of something.
func (r *reading) identifier(s *source) (string, error) {
	if s.param != "" { // nearly always: not boxed, and so not allocated
		id, ok := r.facts.Param(s.param)
		if !ok {
			return "", errAbsent
		}
		return id, checkID(id)
	}
	value, err := r.value(s)
	if err != nil {
		return "", err
	}
	var id string
	switch v := value.(type) {
	case string:
		id = v
	case json.Number:
		// 1, 1.0 and 1e0 are one number and three texts, so are 0 and -0. Beyond 2^53 many
		// readers take the next one that they can keep (RFC 8259 section 6).
		n, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil || n < -maxExact || n > maxExact || n == 0 && v.String() != "0" {
			return "", errors.New("expected a text, or a whole number of at most 2^53-1")
		}
		id = v.String()
	default:
		return "", errors.New("expected a text or a whole number")
	}
	return id, checkID(id)
}

func checkID(id string) error {
	switch {
	case id == "" || len(id) > maxID:
		return fmt.Errorf("expected 1 to %d bytes", maxID)
	case id == anyID:
		return fmt.Errorf("%s stands for no one in particular", anyID)
	case strings.ContainsFunc(id, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\uFFFD' }):
		return errors.New("expected printable characters")
	}
	return nil
}

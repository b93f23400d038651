package authz

import (
	"errors"
	"strings"
	"unicode"

	"github.com/speakeasy-api/jsonpath/pkg/jsonpath"
	"gopkg.in/yaml.v3"
)

// Readers differ in what a name is. Many take folder and Folder for one, as
// encoding/json and ASP.NET do; some take folder[] and folder for one, as PHP does. So
// what is asked about may have one spelling only, or the decision point would be
// asked about one, and the upstream do the other. What nobody asks about may be called
// as it likes.
var errSpelling = errors.New("it is there in another spelling, which some readers take for the same")

// fold is the same text for all that differ in case only, by Unicode's simple folding,
// which has more than ToLower: K is Kelvin's sign, too, and s the long one.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		if 'A' <= least && least <= 'Z' { // \n of a query's name must stay one
			least += 'a' - 'A'
		}
		return least
	}, text)
}

// tagSeveral is of what stands for members that are one to some readers.
const tagSeveral = "!several"

// foldedNode is a tree in which all names are folded.
func foldedNode(n *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value}
	if n.Kind != yaml.MappingNode {
		for _, item := range n.Content {
			out.Content = append(out.Content, foldedNode(item))
		}
		return out
	}
	at := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := fold(n.Content[i].Value)
		if j, ok := at[name]; ok {
			out.Content[j] = &yaml.Node{Kind: yaml.ScalarNode, Tag: tagSeveral}
			continue
		}
		out.Content = append(out.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: tagText, Value: name}, foldedNode(n.Content[i+1]))
		at[name] = len(out.Content) - 1
	}
	return out
}

// severalIn reports whether there is a member in two spellings.
func severalIn(n *yaml.Node) bool {
	if n.Tag == tagSeveral {
		return true
	}
	for _, item := range n.Content {
		if severalIn(item) {
			return true
		}
	}
	return false
}

// foldedPath is a query for a folded tree; nil if there is none: where it compares
// values, which are not folded.
func foldedPath(text string) (*jsonpath.JSONPath, error) {
	if strings.Contains(text, "?") {
		return nil, nil
	}
	return jsonpath.NewPath(fold(text))
}

// spelledOnce reports whether all readers find the same n values in a folded tree.
func (s *source) spelledOnce(folded *yaml.Node, n int) bool {
	if s.folded == nil {
		return !severalIn(folded)
	}
	found := s.folded.Query(folded)
	if len(found) != n {
		return false
	}
	for _, node := range found {
		if severalIn(node) {
			return false
		}
	}
	return true
}

// queryName is what readers make of a parameter's name.
func queryName(name string) string {
	if end := strings.IndexAny(name, "[\x00"); end > 0 {
		name = name[:end]
	}
	name = strings.Map(func(r rune) rune {
		if r == '.' || r == ' ' {
			return '_'
		}
		return r
	}, strings.TrimLeft(name, " "))
	return fold(name)
}

// spelledOnceIn reports whether no other parameter is this one to some readers.
func spelledOnceIn(query map[string][]string, name string) bool {
	ours := queryName(name)
	for other := range query {
		if other != name && queryName(other) == ours {
			return false
		}
	}
	return true
}

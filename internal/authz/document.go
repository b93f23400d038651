package authz

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"keyway/internal/jwks"
)

// errBody never quotes what was found.
var errBody = errors.New("the body is not the expected JSON: one value, each member once, at most 31 levels deep")

// document reads a JSON body as strictly as a peer's documents are read: an
// upstream that takes the last of two members would be asked for something else
// than the decision point was.
func document(body []byte) (*yaml.Node, error) {
	wrapped := make([]byte, 0, len(body)+len(`{"v":}`))
	wrapped = append(append(append(wrapped, `{"v":`...), body...), '}')
	all := map[string]any{}
	if err := jwks.DecodeNumbers(wrapped, &all); err != nil || len(all) != 1 {
		return nil, errBody
	}
	return node(all["v"]), nil
}

// Tags of YAML 1.2's core schema, by which the library tells kinds apart.
const (
	tagText, tagNull, tagBool, tagInt, tagFloat = "!!str", "!!null", "!!bool", "!!int", "!!float"
)

// node is a JSON value as the tree that queries are made on.
func node(value any) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text} }
	switch v := value.(type) {
	case string:
		return scalar(tagText, v)
	case bool:
		return scalar(tagBool, strconv.FormatBool(v))
	case jwks.Number:
		if _, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return scalar(tagInt, v.String())
		}
		return scalar(tagFloat, v.String())
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			n.Content = append(n.Content, node(item))
		}
		return n
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, scalar(tagText, name), node(v[name]))
		}
		return n
	}
	return scalar(tagNull, "null")
}

// errUnreadable never quotes what was found.
var errUnreadable = errors.New("expected text in UTF-8, without halves of surrogates")

// readable is a text that all readers read alike. What can't be read has become a mark
// here, which others leave out.
func readable(text string) (string, error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
		return "", errUnreadable
	}
	return text, nil
}

// plainValue reverses node.
func plainValue(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		switch n.Tag {
		case tagText:
			return readable(n.Value)
		case tagNull:
			return nil, nil
		case tagBool:
			return n.Value == "true", nil
		}
		return json.Number(n.Value), nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			var err error
			if list[i], err = plainValue(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.MappingNode:
		all := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			var err error
			if all[n.Content[i].Value], err = plainValue(n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	return nil, errBody
}

package jwks

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	josejson "github.com/go-jose/go-jose/v4/json"
)

// maxDepth bounds the nesting of a peer's JSON. Decoders recurse, so that
// 64 kB of "[" would cost megabytes of stack; nothing that OAuth or JOSE
// defines comes near it.
const maxDepth = 32

// errJSON never quotes what was found: the document may hold a token.
var errJSON = errors.New("not the expected JSON")

// DecodeObject reads a peer's JSON document into v: one object, valid UTF-8,
// no member twice in an object that v maps, names matched exactly, nested at
// most 32 deep. Two readers must not see two different values in one document
// (RFC 8725 section 2.4 and 3.11, RFC 7515 section 4). The caller bounds the
// size. Errors never quote the document.
func DecodeObject(data []byte, v any) error {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return fmt.Errorf("%w: expected an object", errJSON)
	}
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: expected UTF-8", errJSON)
	}
	if !shallow(data) {
		return fmt.Errorf("%w: expected at most %d levels", errJSON, maxDepth)
	}
	if err := josejson.Unmarshal(data, v); err != nil {
		// The decoder's message may quote a value, so only its kind goes on.
		var wrongType *josejson.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return fmt.Errorf("%w: a member has the wrong type (found %s)", errJSON, kindOf(wrongType.Value))
		}
		return fmt.Errorf("%w: malformed, or a member occurs twice", errJSON)
	}
	return nil
}

// DecodeNumbers is DecodeObject, but that numbers in an any are kept as they are
// written, as a [Number]: 12345678901234567890 is not the float64 that is next to it.
func DecodeNumbers(data []byte, v any) error {
	// The strict decoder looks first, since one that keeps numbers stops behind the
	// first value.
	if err := DecodeObject(data, v); err != nil {
		return err
	}
	decoder := josejson.NewDecoder(bytes.NewReader(data))
	decoder.SetNumberType(josejson.UnmarshalJSONNumber)
	if decoder.Decode(v) != nil {
		return fmt.Errorf("%w: malformed", errJSON)
	}
	return nil
}

// Number is a number as it is written.
type Number = josejson.Number

// kindOf keeps "string", "number", "array" of a decoder's description, and
// drops a value that may follow.
func kindOf(description string) string {
	kind, _, _ := bytes.Cut([]byte(description), []byte(" "))
	switch k := string(kind); k {
	case "string", "number", "array", "object", "bool":
		return k
	}
	return "something else"
}

// shallow reports whether brackets outside strings nest at most maxDepth deep.
func shallow(data []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, c := range data {
		switch {
		case inString && escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

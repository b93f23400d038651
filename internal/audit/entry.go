package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"keyway/internal/jwks"
)

const (
	// MaxLine is how many bytes a line may have, without its end: enough for the
	// following, each character written as six.
	MaxLine = 32 << 10

	maxName   = 256     // bytes of each name and id
	maxDetail = 2 << 10 // bytes
	maxData   = 4 << 10 // bytes
)

// Entry is an Event in the chain.
type Entry struct {
	Seq  uint64 // counts from 1
	Prev string // hash of the line before; empty: it is the first
	Event
	MAC string // by a key of the fleet's: "version.mac"; empty: there is none
	// Line is the entry as it is kept, without the line's end. Its bytes are what
	// is hashed.
	Line []byte
}

// Hash is the entry's place in the chain: SHA-256 of its bytes, base64url.
func (e Entry) Hash() string { return HashLine(e.Line) }

// HashLine is SHA-256, base64url without padding.
func HashLine(line []byte) string {
	sum := sha256.Sum256(line)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// written is the form of a line.
type written struct {
	Seq  uint64 `json:"seq"`
	Prev string `json:"prev"`
	Event
	MAC string `json:"mac,omitempty"`
}

// Encode puts an event after the entry that after names. What is too long for the
// record is cut, and says so, so that no event is lost for its length.
func Encode(after Head, e Event) (Entry, error) { return encodeWith(after, e, nil) }

// encodeWith is Encode with a MAC, where there are keys for it.
func encodeWith(after Head, e Event, keys Keys) (Entry, error) {
	if e.ID == "" || e.Type == "" {
		return Entry{}, errors.New("audit: expected an event with an id and a type")
	}
	e = e.fitted()
	w := written{Seq: after.Seq + 1, Prev: after.Hash, Event: e}
	line, err := encode(w)
	if err != nil {
		return Entry{}, err
	}
	if keys != nil {
		version, key, err := keys.Active()
		if err != nil {
			return Entry{}, fmt.Errorf("audit: an entry can't be authenticated: %w", err)
		}
		w.MAC = version + "." + macOf(key, line)
		if line, err = encode(w); err != nil {
			return Entry{}, err
		}
	}
	return Entry{Seq: w.Seq, Prev: w.Prev, Event: e, MAC: w.MAC, Line: line}, nil
}

func encode(w written) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // it is for people to read, too
	if err := encoder.Encode(w); err != nil {
		return nil, errors.New("audit: an event can't be written: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// fitted is the event as it can be kept.
func (e Event) fitted() Event {
	// Without the clock's monotonic part, and in a year that RFC 3339 can say.
	if e.At = e.At.UTC().Round(0); e.At.Year() < 0 || e.At.Year() > 9999 {
		e.At = time.Time{}
	}
	for _, text := range []*string{&e.ID, &e.Type, &e.Actor, &e.Replica, &e.Secret, &e.Rotation, &e.From, &e.To, &e.Outcome} {
		*text = cut(*text, maxName)
	}
	e.Detail = cut(e.Detail, maxDetail)
	if e.Data != nil {
		var plain bytes.Buffer
		var data []byte
		if utf8.Valid(e.Data) && json.Compact(&plain, e.Data) == nil && plain.Bytes()[0] == '{' {
			data = escaped(plain.Bytes())
		}
		if data == nil || len(data) > maxData {
			data = []byte(`{"left_out":` + strconv.Itoa(len(e.Data)) + `}`)
		}
		e.Data = data
	}
	return e
}

// steers reports whether a character does something to a terminal or to the order of
// what is read, rather than being read: peers and their users have a word in the
// record, and people read it as it is kept. Those are ends of lines and what JSON does
// not escape of the rest: C1, which has an escape of its own, and what turns the
// direction (Unicode Standard Annex 9).
func steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// escaped is JSON without such characters, of the same meaning.
func escaped(data []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(data) {
		if steers(r) { // in a string: nothing else may have it
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

func cut(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if steers(r) {
			return ' '
		}
		return r
	}, string(bytes.ToValidUTF8([]byte(s), []byte("�"))))
	if len(s) <= most {
		return s
	}
	s = s[:most-len("…")]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// Parse reads a line. It takes nothing but what Encode writes, byte for byte, so
// that nobody can read another event in it than is shown: what JSON leaves open
// (spaces, the order of members, how a character is written) is not open here.
func Parse(line []byte) (Entry, error) {
	if len(line) > MaxLine {
		return Entry{}, fmt.Errorf("expected at most %d bytes, found %d", MaxLine, len(line))
	}
	members := map[string]json.RawMessage{}
	if err := jwks.DecodeObject(line, &members); err != nil {
		return Entry{}, errors.New("expected one JSON object, as an entry is written; found something else")
	}
	for name := range members {
		if !known[name] {
			return Entry{}, fmt.Errorf("expected the members of an entry, found %.40q; was it written by a newer release?", name)
		}
	}
	var w written
	if err := json.Unmarshal(line, &w); err != nil {
		return Entry{}, errors.New("expected an entry, found a member of another kind")
	}
	switch {
	case w.Seq == 0:
		return Entry{}, errors.New("expected a number of its own, from 1; found none")
	case (w.Seq == 1) != (w.Prev == "") || w.Prev != "" && !isHash(w.Prev):
		return Entry{}, errors.New("expected the hash of the entry before in prev; found something else")
	case w.ID == "" || w.Type == "":
		return Entry{}, errors.New("expected an id and a type")
	case w.At.Location() != time.UTC:
		return Entry{}, errors.New("expected the time in UTC")
	case w.MAC != "" && !isMAC(line):
		return Entry{}, errors.New("expected a version and its MAC in mac; found something else")
	case w.Data != nil && jwks.DecodeObject(w.Data, &map[string]any{}) != nil:
		return Entry{}, errors.New("expected an object in data, with no member twice")
	}
	// As it stands, and not as an Event would be fitted: a newer release may keep more.
	again, err := encode(w)
	if err != nil || !bytes.Equal(again, line) {
		return Entry{}, errors.New("expected the form in which entries are written; found the same in another one")
	}
	return Entry{Seq: w.Seq, Prev: w.Prev, Event: w.Event, MAC: w.MAC, Line: line}, nil
}

var known = map[string]bool{
	"seq": true, "prev": true, "id": true, "at": true, "type": true, "actor": true, "replica": true, "secret": true,
	"rotation": true, "from": true, "to": true, "outcome": true, "detail": true, "data": true, "mac": true,
}

func isMAC(line []byte) bool {
	_, _, mac := unsealed(line)
	return isHash(mac) // it is as long
}

func isHash(s string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(sum) == sha256.Size
}

// peeked is what is needed of a line without a judgement on it.
type peeked struct {
	Prev string          `json:"prev"`
	ID   string          `json:"id"`
	At   time.Time       `json:"at"`
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

func peek(line []byte) peeked {
	var p peeked
	_ = json.Unmarshal(line, &p) // what can't be read is for Check to tell
	return p
}

// SeqOf is the number that a line says it has; 0: none.
func SeqOf(line []byte) uint64 {
	rest, ok := bytes.CutPrefix(line, []byte(`{"seq":`))
	if !ok {
		return 0
	}
	digits, _, _ := bytes.Cut(rest, []byte(","))
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

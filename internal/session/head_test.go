package session

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// Ids of any length fit into what is read of each record.
func TestAHeadFits(t *testing.T) {
	long := strings.Repeat("x", 64)
	data := appendHead(nil, long, long)
	data = append(data, 1, byte(len(long)))
	data = append(data, long...)
	if len(data) > headBytes {
		t.Fatalf("the longest head is %d bytes, of which %d are read", len(data), headBytes)
	}
	h, _, err := parseHead(append(data, make([]byte, headBytes)...)[:headBytes])
	if err != nil || string(h.salt) != long || string(h.ua) != long || h.key() != long {
		t.Errorf("%q, %v", h, err)
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add(append(appendHead(nil, "s1", "u1"), 1, 2, 'k', '1', 0))
	f.Add(append(appendHead(nil, "s1", ""), 1, 1, 'k'))
	f.Add([]byte{headFormat, 255})
	f.Add([]byte{1, 2, 'k', '1'})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, clear, err := parseHead(data)
		if err != nil {
			if !errors.Is(err, ErrEnded) && !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v says neither that it is over nor that nobody can know", err)
			}
			return
		}
		if again := appendHead(nil, string(h.salt), string(h.ua)); !bytes.Equal(again, clear) {
			t.Errorf("two heads read alike: %q and %q", again, clear)
		}
	})
}

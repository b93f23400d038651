package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// placeholder is what every attempt to print a Value shows.
const placeholder = "[secret]"

// Value is a secret's bytes. The zero Value is empty. A Value is immutable and
// safe for concurrent use.
//
// The bytes sit inside a function: in an unexported field of somebody's struct
// fmt may not call our methods, and it does follow pointers when a verb does not
// fit, but a function it can only show as an address. It also makes == on
// Values a compile error, so that nobody compares in variable time by accident.
type Value struct{ reveal func() []byte }

// NewValue copies b into a Value.
func NewValue(b []byte) Value {
	own := append([]byte(nil), b...)
	return Value{reveal: func() []byte { return own }}
}

// Reveal returns the bytes themselves. The caller must not change them, keep
// them longer than it needs them, or print them.
func (v Value) Reveal() []byte {
	if v.reveal == nil {
		return nil
	}
	return v.reveal()
}

// Len is the number of bytes.
func (v Value) Len() int { return len(v.Reveal()) }

// IsZero reports whether v holds nothing.
func (v Value) IsZero() bool { return v.Len() == 0 }

// Equal compares in time that depends only on the lengths.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare(v.Reveal(), w.Reveal()) == 1
}

// String implements fmt.Stringer without giving anything away.
func (Value) String() string { return placeholder }

// Format implements fmt.Formatter, which wins over every verb, %#v, %x and %s
// among them.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(placeholder)) }

// MarshalText covers encoding/json, YAML and XML, and map keys.
func (Value) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(placeholder) }

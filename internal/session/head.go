package session

import (
	"fmt"

	"keyway/internal/seal"
)

// What a store holds of a session is
//
//	headFormat(1) | len(1) | salt version | len(1) | ua version | sealed record
//
// where the sealed record begins with the version of the session key (package
// seal). So what a session rests on can be counted without opening it. The head is
// in clear, and is part of what the seal covers.
const headFormat = 0x48

// headBytes is more than a head and the beginning of a sealed record take: three
// ids of at most 64 bytes.
const headBytes = 256

// head is the versions that a stored session names, as slices of what was read:
// looking at it on the way of a request costs nothing.
type head struct {
	salt, ua []byte // ua is empty if it is bound to nothing
	sealed   []byte
}

// key is the version of the session key, empty if there is none.
func (h head) key() string {
	version, _ := seal.VersionOf(h.sealed)
	return version
}

// appendHead is the head in clear.
func appendHead(b []byte, salt, ua string) []byte {
	b = append(b, headFormat, byte(len(salt)))
	b = append(b, salt...)
	b = append(b, byte(len(ua)))
	return append(b, ua...)
}

// parseHead reads the head of data, of which the first headBytes are enough; clear
// is what comes before the sealed record. It fails with ErrEnded for what is no
// session, and with ErrUnavailable for what a newer version of this program may
// have written.
func parseHead(data []byte) (h head, clear []byte, err error) {
	if len(data) == 0 || data[0] != headFormat {
		if len(data) > 0 && data[0] > headFormat {
			return h, nil, fmt.Errorf("%w: %w", ErrUnavailable, errFormat)
		}
		return h, nil, errNoHead
	}
	rest := data[1:]
	for _, id := range []*[]byte{&h.salt, &h.ua} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return head{}, nil, errNoHead
		}
		n := 1 + int(rest[0])
		*id, rest = rest[1:n], rest[n:]
	}
	if len(h.salt) == 0 {
		return head{}, nil, errNoHead
	}
	h.sealed = rest
	return h, data[:len(data)-len(rest)], nil
}

var errNoHead = fmt.Errorf("%w: malformed", ErrEnded)

// saltName is h.salt as a string, mostly without making one.
func (m *Manager) saltName(h head) string {
	if active := m.o.Salt.ActiveVersion(); string(h.salt) == active {
		return active
	}
	return string(h.salt)
}

// sealed is plain under the active session key, bound to the key and the head.
func (m *Manager) sealed(k Key, salt, ua string, plain []byte) []byte {
	clear := appendHead(make([]byte, 0, headBytes+len(plain)), salt, ua)
	return append(clear, m.o.Sealer.Seal(plain, bound(k, clear))...)
}

// unsealed reverses it. Errors: ErrEnded, ErrUnavailable, an unknown version.
func (m *Manager) unsealed(k Key, data []byte) (plain []byte, h head, err error) {
	h, clear, err := parseHead(data)
	if err != nil {
		return nil, h, err
	}
	plain, err = m.o.Sealer.Open(h.sealed, bound(k, clear))
	if err != nil {
		return nil, h, fromKeys(VersionError{Secret: SecretRecord, Version: h.key(), Who: k.String(), Err: err})
	}
	return plain, h, nil
}

// bound is what a record can't be taken away from: its place, and its head.
func bound(k Key, clear []byte) []byte {
	return append(append(make([]byte, 0, len(k)+len(clear)), k[:]...), clear...)
}

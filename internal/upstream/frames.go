package upstream

import (
	"crypto/rand"
	"encoding/binary"
)

// Status codes of close frames (RFC 6455 section 7.4.1).
const (
	closeGoingAway = 1001
	closePolicy    = 1008
)

const opClose = 8

// frames follows WebSocket frames in one direction (RFC 6455 section 5.2), only
// to know where they end: a close frame of ours may stand between two frames and
// not inside one. It holds no payload.
type frames struct {
	head   [14]byte
	n      int    // bytes of head so far
	left   uint64 // bytes of payload to come
	closed bool   // a close frame has begun
}

func (f *frames) advance(b []byte) {
	for len(b) > 0 {
		if f.left > 0 {
			k := min(f.left, uint64(len(b)))
			f.left -= k
			b = b[k:]
			continue
		}
		f.head[f.n] = b[0]
		f.n++
		b = b[1:]
		if f.n < 2 || f.n < f.headLen() {
			continue
		}
		f.left = f.payloadLen()
		f.closed = f.closed || f.head[0]&0x0f == opClose
		f.n = 0
	}
}

// boundary reports whether another frame may begin here.
func (f *frames) boundary() bool { return f.n == 0 && f.left == 0 && !f.closed }

func (f *frames) headLen() int {
	n := 2
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4 // masking key
	}
	return n
}

func (f *frames) payloadLen() uint64 {
	switch short := f.head[1] & 0x7f; short {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(short)
	}
}

// closeFrame is a close frame with a code and a short reason. What goes to a
// server is masked (RFC 6455 section 5.3).
func closeFrame(code uint16, reason string, masked bool) []byte {
	payload := append(binary.BigEndian.AppendUint16(nil, code), reason...)
	frame := []byte{0x80 | opClose, byte(len(payload))}
	if !masked {
		return append(frame, payload...)
	}
	var key [4]byte
	_, _ = rand.Read(key[:])
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	frame[1] |= 0x80
	return append(append(frame, key[:]...), payload...)
}

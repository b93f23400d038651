package telemetry

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

// maxCorrelationID bounds an id that a trusted proxy sends, in bytes.
const maxCorrelationID = 64

// CorrelationID names a request in logs here, at the upstream, and in an error
// that a user may quote. An id that a trusted proxy made is kept, if it has only
// characters that can't break a log or a header; anybody else's is not, because
// it would let him write under another request's name.
func CorrelationID(h http.Header, trusted bool) string {
	if sent := h["X-Correlation-Id"]; trusted && len(sent) == 1 && validCorrelationID(sent[0]) {
		return sent[0]
	}
	var b [16]byte
	rand.Read(b[:])
	var text [32]byte
	hex.Encode(text[:], b[:])
	return string(text[:])
}

func validCorrelationID(id string) bool {
	if id == "" || len(id) > maxCorrelationID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

package upstream

import (
	"crypto/sha1"
	"encoding/base64"
	"iter"
	"net/http"
	"slices"
	"strings"

	"keyway/internal/problem"
)

// asksForWebSocket reports whether r is a WebSocket handshake that may pass, or
// an error when it is one that may not. Every other Upgrade is ignored, as RFC
// 9110 section 7.8 allows, and never reaches the upstream: h2c in particular would
// turn the connection into a tunnel for requests that nobody has looked at. The
// client's connection ends with the answer (see [ignoresUpgrade]).
func asksForWebSocket(r *http.Request, streaming bool) (bool, error) {
	upgrade := r.Header["Upgrade"]
	if len(upgrade) == 0 || !hasToken(r.Header["Connection"], "upgrade") {
		return false, nil
	}
	if slices.ContainsFunc(upgrade, isNotPrintable) {
		return false, problem.New(problem.UnsupportedUpgrade, errBadUpgrade)
	}
	if len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket") {
		return false, nil
	}
	refuse := func(expected string) (bool, error) {
		return false, problem.Newf(problem.UnsupportedUpgrade, "WebSocket handshake: expected %s", expected)
	}
	// RFC 6455 section 4.2.1. A proxy that takes a handshake for good that the
	// upstream refuses would leave the two in different protocols.
	key := r.Header["Sec-Websocket-Key"]
	version := r.Header["Sec-Websocket-Version"]
	switch {
	case !streaming:
		return refuse("a route that streams")
	case r.Method != http.MethodGet || !r.ProtoAtLeast(1, 1) || r.ProtoMajor != 1:
		return refuse("GET in HTTP/1.1")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return refuse("no body")
	case len(version) != 1 || version[0] != "13":
		return refuse("Sec-WebSocket-Version: 13, once")
	case len(key) != 1 || !isNonce(key[0]):
		return refuse("Sec-WebSocket-Key with 16 bytes in base64, once")
	}
	return true, nil
}

func isNotPrintable(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// ignoresUpgrade reports whether r asked for an upgrade that it does not get. What
// follows on its connection may be in the protocol that it asked for, so it is not
// to be read as the next request. HTTP/2 has no upgrades (RFC 9113 section 8.6).
func ignoresUpgrade(r *http.Request, webSocket bool) bool {
	return r.ProtoMajor == 1 && len(r.Header["Upgrade"]) > 0 && !webSocket
}

func isNonce(key string) bool {
	var raw [18]byte
	n, err := base64.StdEncoding.Strict().Decode(raw[:min(len(raw), base64.StdEncoding.DecodedLen(len(key)))], []byte(key))
	return len(key) == 24 && err == nil && n == 16
}

// isSwitch reports whether a 101 response switches to WebSocket, in answer to the
// handshake with this key and to no other (RFC 6455 section 4.1): what a cache, or a
// server that copies headers, answers does not prove that anybody speaks WebSocket.
// The checks of Sec-WebSocket-Extensions and -Protocol are the client's, which knows
// what it asked for.
func isSwitch(h http.Header, key string) bool {
	upgrade, accept := h["Upgrade"], h["Sec-Websocket-Accept"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") && hasToken(h["Connection"], "upgrade") &&
		len(accept) == 1 && accept[0] == acceptFor(key)
}

// acceptFor is the answer to a handshake's key (RFC 6455 section 4.2.2 point 5.4).
// SHA-1 keeps nothing secret here.
func acceptFor(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// hasToken reports whether one of the comma-separated lists has the token, case
// ignored.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.Trim(item, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// splitList yields the trimmed, non-empty items of a comma-separated list.
func splitList(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for item := range strings.SplitSeq(list, ",") {
			if item = strings.Trim(item, " \t"); item != "" && !yield(item) {
				return
			}
		}
	}
}

package audit

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"keyway/internal/secret"
)

// Keys are what entries are authenticated with: keys that every replica can make of
// what the fleet holds, and nobody else, not even who may write to where the chain is
// kept.
type Keys interface {
	// Active is the key in use, and the version that it is made of.
	Active() (version string, key secret.Value, err error)
	// Key is that of a version which is live, or was until just now; false: this replica
	// has none.
	Key(ctx context.Context, version string) (key secret.Value, ok bool)
}

// verdict is what an entry's MAC says.
type verdict int

const (
	good     verdict = iota
	bad              // it has none, or another's
	unplaced         // it is by a version that this replica has no key of
)

func macOf(key secret.Value, line []byte) string {
	h := hmac.New(sha256.New, key.Reveal())
	h.Write(line)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// beginsMAC begins the last member of a line.
var beginsMAC = []byte(`,"mac":"`)

// unsealed takes a line apart: what the MAC is over, and whose it is and what.
func unsealed(line []byte) (rest []byte, version, mac string) {
	at := bytes.LastIndex(line, beginsMAC)
	text, ends := bytes.CutSuffix(line, []byte(`"}`))
	if at < 0 || !ends || at+len(beginsMAC) > len(text) {
		return line, "", ""
	}
	// A quote in it, and it is not the last member.
	version, mac, ok := strings.Cut(string(text[at+len(beginsMAC):]), ".")
	if !ok || strings.ContainsAny(version+mac, `"\.`) {
		return line, "", ""
	}
	return append(bytes.Clone(line[:at]), '}'), version, mac
}

// judge says whether replicas have written a line.
func judge(ctx context.Context, keys Keys, line []byte) verdict {
	if keys == nil {
		return good
	}
	rest, version, mac := unsealed(line)
	if version == "" {
		return bad
	}
	key, ok := keys.Key(ctx, version)
	switch {
	case !ok:
		return unplaced
	case hmac.Equal([]byte(mac), []byte(macOf(key, rest))):
		return good
	}
	return bad
}

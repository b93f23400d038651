package dpop

import (
	"container/list"
	"sync"

	"keyway/internal/nqchar"
)

// DefaultServers is how many servers' nonces are kept unless somebody says otherwise:
// our own providers and upstreams are a handful.
const DefaultServers = 256

// maxNonce bounds a nonce in bytes. It goes into each proof.
const maxNonce = 512

// Nonces are the newest nonce of each server. It lives as long as the process, and is
// safe for concurrent use. When there are too many servers, the one that was not heard
// of for longest is forgotten, which costs the next request to it one more trip.
type Nonces struct {
	most int

	mu     sync.Mutex
	by     map[string]*list.Element
	recent *list.List // of *nonce, the latest heard of first
}

type nonce struct{ origin, value string }

// NewNonces makes an empty memory for so many servers; 0 means DefaultServers.
func NewNonces(most int) *Nonces {
	if most <= 0 {
		most = DefaultServers
	}
	return &Nonces{most: most, by: map[string]*list.Element{}, recent: list.New()}
}

func (n *Nonces) of(address string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.by) == 0 {
		return ""
	}
	if e := n.by[origin(address)]; e != nil {
		return e.Value.(*nonce).value
	}
	return ""
}

// keep takes the nonce of an answer's headers up. Two of them are none: who would say
// which is meant?
func (n *Nonces) keep(address string, values []string) bool {
	if len(values) != 1 || !wellFormed(values[0]) {
		return false
	}
	from := origin(address)
	if from == "" {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.by[from]; e != nil {
		e.Value.(*nonce).value = values[0]
		n.recent.MoveToFront(e)
		return true
	}
	for len(n.by) >= n.most {
		oldest := n.recent.Back()
		delete(n.by, oldest.Value.(*nonce).origin)
		n.recent.Remove(oldest)
	}
	n.by[from] = n.recent.PushFront(&nonce{from, values[0]})
	return true
}

// wellFormed: RFC 9449 section 8.1 allows NQCHAR (RFC 6749 appendix A), so that a
// nonce can be quoted as it is.
func wellFormed(s string) bool {
	return s != "" && len(s) <= maxNonce && nqchar.Only(s)
}

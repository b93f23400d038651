package audit

import (
	"encoding/json"
	"time"
)

// Event is one thing that happened. It names secrets and versions, and holds no
// values.
type Event struct {
	// ID is unique. Who records the same thing again uses the same, and it is in the
	// chain once.
	ID       string          `json:"id"`
	At       time.Time       `json:"at"`
	Type     string          `json:"type"`
	Actor    string          `json:"actor,omitempty"` // who or what asked for it
	Replica  string          `json:"replica,omitempty"`
	Secret   string          `json:"secret,omitempty"`
	Rotation string          `json:"rotation,omitempty"`
	From     string          `json:"from,omitempty"` // ids of versions
	To       string          `json:"to,omitempty"`
	Outcome  string          `json:"outcome,omitempty"`
	Detail   string          `json:"detail,omitempty"` // for people
	Data     json.RawMessage `json:"data,omitempty"`   // a small object: what was counted, what a check saw
}

// Head is the end of the chain.
type Head struct {
	Seq  uint64 `json:"seq"`  // of the last entry; 0: there is none
	Hash string `json:"hash"` // of its bytes: SHA-256, base64url
	// Signature is a compact JWS over seq and hash by the signing key in use.
	Signature string `json:"signature,omitempty"`
}

// Page is a part of the chain, as it is kept.
type Page struct {
	First uint64   `json:"first"` // seq of Lines[0]
	Lines []string `json:"lines"` // byte for byte
	Head  Head     `json:"head"`
}

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

// Types of events. The steps of a rotation are TypeRotation and the step's name, as
// in rotation.activated.
const (
	TypeRotation      = "rotation."
	TypeAsked         = "rotation.asked"
	TypeEnded         = "rotation.ended"
	TypeVerified      = "verify.finished"
	TypeTrouble       = "secret.trouble"
	TypeRecovered     = "secret.recovered"
	TypeJoined        = "fleet.joined"
	TypeLeft          = "fleet.left"
	TypeDropped       = "audit.dropped"     // what was older than the retention
	TypeLost          = "audit.lost"        // more happened at once than could be kept waiting
	TypeCut           = "audit.cut"         // the chain ended earlier, or otherwise, than it did before
	TypeForged        = "audit.forged"      // no replica has written what is there
	TypePassedOver    = "audit.passed_over" // a receiver does not take an event
	TypeAdminSignedIn = "admin.signed_in"
	TypeAdminRefused  = "admin.refused"
	TypeSessionEnded  = "session.ended"    // by an operator
	TypePolicies      = "policies.changed" // said an operator
)

// Head is the end of the chain.
type Head struct {
	Seq  uint64 `json:"seq"`  // of the last entry; 0: there is none
	Hash string `json:"hash"` // of its bytes: SHA-256, base64url
	// Signature is a compact JWS over seq and hash by the signing key in use.
	Signature string `json:"signature,omitempty"`
}

// Same reports whether both are of the same entry, whoever signed them.
func (h Head) Same(other Head) bool { return h.Seq == other.Seq && h.Hash == other.Hash }

// Page is a part of the chain, as it is kept.
type Page struct {
	First uint64   `json:"first"` // seq of Lines[0]
	Lines []string `json:"lines"` // byte for byte
	Head  Head     `json:"head"`
}

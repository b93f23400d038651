package authz

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"sync"

	"keyway/internal/principal"
)

// key is a question, for finding its answer again.
type key [sha256.Size]byte

// Circumstances are under which a question is asked. Time and correlation id are
// told to the PDP, and not part of what an answer is remembered under: no answer
// would ever be used twice.
type Circumstances struct {
	Address       netip.Addr
	CorrelationID string
}

// keyBuffers are for building keys without an allocation for each request.
var keyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// keyOf is a hash of all that may decide. Each part has its length in front of it, so
// that no two questions are one text. Of the principal everything counts: claims
// that have changed make another question. So does the session: what was decided
// for one that has ended is of use to no other.
func keyOf(epoch uint64, who *principal.Principal, subject SubjectForm, action string, resource *Entity, at Circumstances) (key, error) {
	buffer := keyBuffers.Get().(*[]byte)
	b := (*buffer)[:0]
	b = binary.BigEndian.AppendUint64(b, epoch)
	for _, part := range [...]string{
		string(subject), who.Provider, who.Subject, who.SessionID, who.ClientID, who.Email, who.Name, action, resource.Type, resource.ID,
	} {
		b = appendPart(b, part)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(who.AuthTime.Unix()))
	for _, list := range [...][]string{who.Roles, who.Permissions, who.Scopes} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(list)))
		for _, item := range list {
			b = appendPart(b, item)
		}
	}
	address := at.Address.As16()
	b = append(b, address[:]...)
	var err error
	if len(resource.Properties) > 0 {
		// Allocates; the properties that it is about have been allocated, too.
		var props []byte
		props, err = json.Marshal(resource.Properties) // names are sorted
		b = append(b, props...)
	}
	k := key(sha256.Sum256(b))
	*buffer = b
	keyBuffers.Put(buffer)
	return k, err
}

func appendPart(b []byte, part string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}

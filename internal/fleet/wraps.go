package fleet

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"keyway/internal/keyring"
	"keyway/internal/keyring/ringjson"
	"keyway/internal/seal"
	"keyway/internal/secret"
)

const (
	// maxWraps bounds the unseal keys of one document, those that were dismissed
	// included; maxDismissed, how many of the latter are remembered: at one turn a
	// month, ten years.
	maxWraps     = 1000
	maxDismissed = 128
	// dataKeyLen is what AES-256 is derived from.
	dataKeyLen = 32

	wrapPurpose     = "fleet key-encryption-key wrap"
	documentPurpose = "fleet key-encryption-key document"
)

// UnsealKey is a value that opens the key-encryption key: of TOKEN_HASH_SALT, or a
// root key file's. ID names the value, the same on every replica.
type UnsealKey struct {
	ID    string
	Value secret.Value
}

// kekDocument is the key-encryption key's ring and whom it is wrapped for.
type kekDocument struct {
	ring RingDocument
	// turn counts writes, so that of two states it can be told which is older.
	turn   uint64
	unseal map[string]unsealEntry
	// unknown members are kept, as in a RingDocument.
	unknown ringjson.Members
}

// unsealEntry is what was last decided of an unseal key, and in which turn. The
// zero value says that it was dismissed: that is kept, so that an earlier state
// can't let it in again.
type unsealEntry struct {
	value secret.Value
	turn  uint64
}

func (d kekDocument) isZero() bool { return d.ring.Ring.IsZero() }

// admitted are the ids of the unseal keys that it is wrapped for, in order.
func (d kekDocument) admitted() []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(d.unseal)) {
		if !d.unseal[id].value.IsZero() {
			ids = append(ids, id)
		}
	}
	return ids
}

// forgetting is d without the dismissed unseal keys that are beyond maxDismissed,
// those dismissed first. Whoever remembers them comes to the same result.
func (d kekDocument) forgetting() kekDocument {
	var dismissed []string
	for id, e := range d.unseal {
		if e.value.IsZero() {
			dismissed = append(dismissed, id)
		}
	}
	if len(dismissed) <= maxDismissed {
		return d
	}
	slices.SortFunc(dismissed, func(a, b string) int {
		return cmp.Or(cmp.Compare(d.unseal[b].turn, d.unseal[a].turn), strings.Compare(a, b))
	})
	d = d.clone()
	for _, id := range dismissed[maxDismissed:] {
		delete(d.unseal, id)
	}
	return d
}

func (d kekDocument) clone() kekDocument {
	d.unseal = maps.Clone(d.unseal)
	return d
}

// same compares what two documents say, turn aside.
func (d kekDocument) same(o kekDocument) bool {
	if d.isZero() || o.isZero() {
		return d.isZero() && o.isZero()
	}
	o.turn = d.turn
	a, err1 := d.encode()
	b, err2 := o.encode()
	return err1 == nil && err2 == nil && bytes.Equal(a, b)
}

func (d kekDocument) encode() ([]byte, error) {
	ring, err := d.ring.Encode()
	if err != nil {
		return nil, err
	}
	if len(d.unseal) > maxWraps {
		return nil, fmt.Errorf("expected at most %d unseal keys, found %d", maxWraps, len(d.unseal))
	}
	unseal := []ringjson.Object{}
	for _, id := range slices.Sorted(maps.Keys(d.unseal)) {
		e := d.unseal[id]
		o := ringjson.Object{"id": id, "turn": e.turn}
		o.Put("value", e.value.Reveal(), !e.value.IsZero())
		unseal = append(unseal, o)
	}
	all := d.unknown.Object()
	all["format"], all["turn"], all["ring"], all["unseal"] = documentFormat, d.turn, json.RawMessage(ring), unseal
	return json.Marshal(all)
}

// parseKEKDocument reads what encode writes. Its errors name fields, never what is
// in them.
func parseKEKDocument(content []byte) (kekDocument, error) {
	raw, err := ringjson.Parse(content)
	if err != nil {
		return kekDocument{}, err
	}
	var ring json.RawMessage
	var unseal []ringjson.Members
	d := kekDocument{unseal: map[string]unsealEntry{}}
	err = errors.Join(raw.TakeFormat(documentFormat), raw.Take("turn", &d.turn), raw.Take("ring", &ring), raw.Take("unseal", &unseal))
	if err != nil {
		return kekDocument{}, err
	}
	if len(unseal) > maxWraps {
		return kekDocument{}, fmt.Errorf("expected at most %d unseal keys, found %d", maxWraps, len(unseal))
	}
	for i, raw := range unseal {
		var id string
		var value []byte
		var e unsealEntry
		if err := errors.Join(raw.Take("id", &id), raw.Take("value", &value), raw.Take("turn", &e.turn)); err != nil {
			return kekDocument{}, fmt.Errorf("unseal[%d]: %w", i, err)
		}
		if len(value) > 0 {
			e.value = secret.NewValue(value)
		}
		d.unseal[id] = e
	}
	d.unknown = raw
	if d.ring, err = ParseRingDocument(ring); err != nil {
		return kekDocument{}, fmt.Errorf("ring: %w", err)
	}
	if name := d.ring.Ring.Name(); name != KeyEncryptionKey {
		return kekDocument{}, fmt.Errorf("expected the ring %s, found %s", KeyEncryptionKey, name)
	}
	return d, nil
}

// wrapped is the document as it is on the board: sealed under a data key of its
// own, which is sealed once for each unseal key. So what it takes to write it for
// one more reader is one more line, and a new data key with each write keeps out
// whoever could read the one before.
type wrapped struct {
	Format int    `json:"format"`
	Wraps  []wrap `json:"wraps"`
	Sealed []byte `json:"sealed"`
}

type wrap struct {
	ID  string `json:"id"`  // of the unseal key
	Key []byte `json:"key"` // the data key, sealed under it
}

// parseWrapped checks the form; whether anything in it is genuine, opening tells.
func parseWrapped(content []byte) (wrapped, error) {
	var w wrapped
	if err := json.Unmarshal(content, &w); err != nil {
		return wrapped{}, errors.New("expected a JSON object of wraps and what is sealed, found something else")
	}
	switch {
	case w.Format != documentFormat:
		return wrapped{}, fmt.Errorf("expected format %d, found %d; was it written by a newer release?", documentFormat, w.Format)
	case len(w.Wraps) == 0 || len(w.Wraps) > maxWraps:
		return wrapped{}, fmt.Errorf("expected 1 to %d wraps, found %d", maxWraps, len(w.Wraps))
	case slices.ContainsFunc(w.Wraps, func(one wrap) bool { return !keyring.IsID(one.ID) }):
		// Whoever can write the store chooses them, and errors show them in terminals.
		return wrapped{}, errors.New("expected the ids of values, found something else")
	}
	return w, nil
}

func (w wrapped) ids() []string {
	ids := make([]string, len(w.Wraps))
	for i, one := range w.Wraps {
		ids[i] = one.ID
	}
	return ids
}

// open tries those of keys that it is wrapped for. The error is a *SealedError
// when there is none.
func (w wrapped) open(keys []UnsealKey) (kekDocument, error) {
	var failed error
	for _, key := range keys {
		for _, one := range w.Wraps {
			if one.ID != key.ID {
				continue
			}
			d, err := w.openWith(one, key)
			if err == nil {
				return d, nil
			}
			failed = err
		}
	}
	if failed != nil {
		return kekDocument{}, fmt.Errorf("fleet: the %s in the shared store can't be read: it is damaged, or was changed by somebody else: %w", KeyEncryptionKey, failed)
	}
	return kekDocument{}, &SealedError{Wraps: w.ids(), Given: idsOf(keys)}
}

func (w wrapped) openWith(one wrap, key UnsealKey) (kekDocument, error) {
	wrapper, err := sealerOf(key.ID, key.Value, wrapPurpose)
	if err != nil {
		return kekDocument{}, err
	}
	dataKey, err := wrapper.Open(one.Key, []byte(KeyEncryptionKey))
	if err != nil {
		return kekDocument{}, err
	}
	sealer, err := sealerOf("data", secret.NewValue(dataKey), documentPurpose)
	if err != nil {
		return kekDocument{}, err
	}
	plain, err := sealer.Open(w.Sealed, []byte(KeyEncryptionKey))
	if err != nil {
		return kekDocument{}, err
	}
	return parseKEKDocument(plain)
}

// wrap seals the document for all whom it names.
func (d kekDocument) wrap() ([]byte, error) {
	plain, err := d.encode()
	if err != nil {
		return nil, err
	}
	dataKey := make([]byte, dataKeyLen)
	rand.Read(dataKey) //nolint:errcheck // never fails
	sealer, err := sealerOf("data", secret.NewValue(dataKey), documentPurpose)
	if err != nil {
		return nil, err
	}
	w := wrapped{Format: documentFormat, Sealed: sealer.Seal(plain, []byte(KeyEncryptionKey))}
	for _, id := range d.admitted() {
		wrapper, err := sealerOf(id, d.unseal[id].value, wrapPurpose)
		if err != nil {
			return nil, err
		}
		w.Wraps = append(w.Wraps, wrap{id, wrapper.Seal(dataKey, []byte(KeyEncryptionKey))})
	}
	if len(w.Wraps) == 0 {
		return nil, errors.New("expected a key to seal it under, found none")
	}
	return json.Marshal(w)
}

// sealerOf is a sealer with one key.
func sealerOf(id string, value secret.Value, purpose string) (*seal.Sealer, error) {
	ring, err := keyring.New(KeyEncryptionKey, keyring.Version{ID: id, State: keyring.Active, Value: value})
	if err != nil {
		return nil, err
	}
	return seal.NewSealer(ring, purpose)
}

func idsOf(keys []UnsealKey) []string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// kekLen is how many random bytes a version of the key-encryption key has.
const kekLen = 48

// NewKeyEncryptionKey makes a value for the ring KeyEncryptionKey.
func NewKeyEncryptionKey() keyring.Candidate {
	b := make([]byte, kekLen)
	rand.Read(b) //nolint:errcheck // never fails
	value := secret.NewValue(b)
	return keyring.Candidate{ID: secret.Fingerprint(KeyEncryptionKey, value), Value: value}
}

func firstKEK(unseal []UnsealKey, now time.Time) (kekDocument, error) {
	c := NewKeyEncryptionKey()
	ring, err := keyring.New(KeyEncryptionKey, keyring.Version{ID: c.ID, State: keyring.Active, CreatedAt: now, ActivatedAt: now, Value: c.Value})
	if err != nil {
		return kekDocument{}, err
	}
	d := kekDocument{ring: RingDocument{Ring: ring}, turn: 1, unseal: map[string]unsealEntry{}}
	for _, k := range unseal {
		d.unseal[k.ID] = unsealEntry{k.Value, 1}
	}
	return d, nil
}

// Admit wraps the key-encryption key for keys, too. Those that it is wrapped for
// already change nothing.
func (v *Vault) Admit(ctx context.Context, keys ...UnsealKey) error {
	_, err := v.changeKEK(ctx, func(d *kekDocument, turn uint64) error {
		for _, k := range keys {
			if there, ok := d.unseal[k.ID]; !ok || !there.value.Equal(k.Value) {
				d.unseal[k.ID] = unsealEntry{k.Value, turn}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range keys {
		if !slices.ContainsFunc(v.given, func(g UnsealKey) bool { return g.ID == k.ID }) {
			v.given = append(v.given, k)
			v.kek = kekRead{}
		}
	}
	return nil
}

// Dismiss has the key-encryption key not be wrapped for ids any more. It refuses to
// leave nobody who could open it. Who has one of the values and kept an earlier
// copy of the store has the key-encryption key that was in it: when a value is
// compromised, turn that, too.
func (v *Vault) Dismiss(ctx context.Context, ids ...string) error {
	_, err := v.changeKEK(ctx, func(d *kekDocument, turn uint64) error {
		for _, id := range ids {
			if there, ok := d.unseal[id]; ok && !there.value.IsZero() {
				d.unseal[id] = unsealEntry{turn: turn}
			}
		}
		if len(d.admitted()) == 0 {
			return fmt.Errorf("fleet: can't dismiss %v: nobody could open the %s; admit another value first", ids, KeyEncryptionKey)
		}
		return nil
	})
	return err
}

// Unseals are the ids of the values that the key-encryption key is wrapped for.
func (v *Vault) Unseals(ctx context.Context) ([]string, error) {
	there, err := v.readKEK(ctx)
	if err != nil {
		return nil, err
	}
	return there.document.admitted(), nil
}

// Restore puts back what the store has lost of the key-encryption key, and seals
// anew the rings that this vault has met and that are under a version which the
// fleet has ended. It is cheap when there is nothing to do: one read, and one for
// each of those rings.
func (v *Vault) Restore(ctx context.Context) error {
	kek, err := v.changeKEK(ctx, nil)
	if err != nil {
		return err
	}
	v.mu.Lock()
	var names []string
	for name := range v.names {
		names = append(names, name)
	}
	v.mu.Unlock()
	for _, name := range names {
		s, err := v.load(ctx, name)
		if err != nil {
			return err
		}
		if s.revision == "" {
			continue
		}
		if _, err := kek.ring.Ring.Lookup(s.sealedBy); err == nil {
			continue
		}
		if _, err := v.Reseal(ctx, name); err != nil {
			return err
		}
		v.log.Warn("a secret in the shared store was sealed under a key that the fleet has ended, as after the store fell back to an earlier state; it was sealed anew", "name", name)
	}
	return nil
}

// kekEntry is the key-encryption key as it is on the board.
type kekEntry struct {
	document kekDocument // zero: nothing that counts
	revision Revision    // zero: nothing
	content  []byte
	whole    bool // it is known to be what this vault remembers
}

// kekRead is what the entry was when it was read last.
type kekRead struct {
	content  []byte
	document kekDocument
	// known is the turn of what was remembered then, and whole that the entry lacked
	// nothing of that.
	known uint64
	whole bool
}

// reads is what the same bytes were read as before, unless what they are to be held
// against has changed since.
func (v *Vault) reads(content []byte) (kekRead, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.kek, v.kek.content != nil && v.kek.known == v.known.turn && bytes.Equal(v.kek.content, content)
}

// readKEK reads the entry, and remembers what is in it.
func (v *Vault) readKEK(ctx context.Context) (kekEntry, error) {
	content, revision, err := v.board.Get(ctx, KeyEncryptionKey)
	if err != nil {
		return kekEntry{}, fmt.Errorf("fleet: reading the %s: %w", KeyEncryptionKey, err)
	}
	if revision == "" {
		return kekEntry{}, nil
	}
	if read, ok := v.reads(content); ok {
		return kekEntry{read.document, revision, content, read.whole}, nil
	}
	w, err := parseWrapped(content)
	if err != nil {
		return kekEntry{}, fmt.Errorf("fleet: the %s in the shared store can't be read: %w", KeyEncryptionKey, err)
	}
	keys, dismissed := v.unsealing()
	d, err := w.open(keys)
	if _, sealed := errors.AsType[*SealedError](err); sealed && !slices.ContainsFunc(w.ids(), func(id string) bool { return !dismissed[id] }) {
		// An earlier state, or one that somebody made who has such a value: what we
		// remember is what counts.
		return kekEntry{revision: revision}, nil
	}
	if err != nil {
		return kekEntry{}, err
	}
	if err := v.remember(d); err != nil {
		return kekEntry{}, err
	}
	v.mu.Lock()
	v.kek = kekRead{content: content, document: d, known: v.known.turn}
	v.mu.Unlock()
	return kekEntry{document: d, revision: revision, content: content}, nil
}

// lacksNothing notes that the entry is what this vault remembers.
func (v *Vault) lacksNothing(there kekEntry, known uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.kek.known == known && bytes.Equal(v.kek.content, there.content) {
		v.kek.whole = true
	}
}

// unsealing are the values to open the entry with: those given, and those that
// the fleet has admitted since, but for those that it has dismissed.
func (v *Vault) unsealing() (keys []UnsealKey, dismissed map[string]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	dismissed = map[string]bool{}
	for id, e := range v.known.unseal {
		if e.value.IsZero() {
			dismissed[id] = true
		} else {
			keys = append(keys, UnsealKey{id, e.value})
		}
	}
	for _, k := range v.given {
		if !dismissed[k.ID] {
			keys = append(keys, k)
		}
	}
	return keys, dismissed
}

// remember takes in what was on the board. An earlier state than the one that is
// known adds its keys, to read by, and nothing else.
func (v *Vault) remember(d kekDocument) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d.turn >= v.known.turn {
		v.known = reunite(d, v.known, time.Now())
	}
	for version := range d.ring.Ring.All() {
		switch {
		case version.State.Live() && v.keys[version.ID] == nil:
			sealer, err := sealerOf(version.ID, version.Value, ringPurpose)
			if err != nil {
				return fmt.Errorf("fleet: the %s in the shared store: %w", KeyEncryptionKey, err)
			}
			v.keys[version.ID] = sealer
		case !version.State.Live() && version.Compromised:
			delete(v.keys, version.ID) // somebody else may seal with it
		}
	}
	return nil
}

// changeKEK makes an edit, if any, to what should be on the board, and returns
// what is there afterwards. turn is the number that the write will have.
func (v *Vault) changeKEK(ctx context.Context, edit func(d *kekDocument, turn uint64) error) (kekDocument, error) {
	for {
		there, err := v.readKEK(ctx)
		if err != nil {
			return kekDocument{}, err
		}
		if edit == nil && there.whole {
			return there.document, nil
		}
		v.mu.Lock()
		known := v.known
		v.mu.Unlock()
		whole := reunite(there.document, known, time.Now())
		next := whole.clone()
		turn := max(there.document.turn, known.turn) + 1
		if edit != nil {
			switch err := edit(&next, turn); {
			case errors.Is(err, ErrUnchanged):
				next = whole
			case err != nil:
				return kekDocument{}, err
			}
		}
		next = next.forgetting()
		if next.same(there.document) {
			if edit == nil {
				v.lacksNothing(there, known.turn)
			}
			return there.document, nil
		}
		if err := whole.ring.successor(next.ring.Ring); err != nil {
			return kekDocument{}, err
		}
		next.turn = turn
		err = v.writeKEK(ctx, next, there.revision)
		switch {
		case err == nil:
			if !whole.same(there.document) {
				v.log.Warn("the shared store had lost changes of the key-encryption key, as after it fell back to an earlier state; this replica has put them back",
					"version", next.ring.Ring.Active().ID)
			}
			return next, nil
		case !errors.Is(err, ErrConflict):
			return kekDocument{}, err
		case ctx.Err() != nil:
			return kekDocument{}, fmt.Errorf("fleet: saving the %s: %w", KeyEncryptionKey, ctx.Err())
		}
	}
}

func (v *Vault) writeKEK(ctx context.Context, d kekDocument, revision Revision) error {
	content, err := d.wrap()
	if err == nil {
		_, err = v.board.CompareAndSet(ctx, KeyEncryptionKey, revision, content)
	}
	if err != nil {
		return fmt.Errorf("fleet: saving the %s: %w", KeyEncryptionKey, err)
	}
	return v.remember(d)
}

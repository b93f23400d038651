package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A session is found by what it has in common with others through groups in the
// store, whose names are salted hashes: who reads the store can neither tell whose
// they are nor look for somebody. What is hashed begins with what it is for, so that
// no cookie's id passes for it, and has the length of each part in front of it, so
// that no two lists of parts are one.
type groupKind byte

const (
	bySubject  groupKind = 'u' // issuer, subject
	bySID      groupKind = 's' // issuer, sid
	byBoth     groupKind = 'b' // issuer, subject, sid: has no members, is for marks
	byPublicID groupKind = 'p' // public id
)

// group is one of them, before it is hashed.
type group struct {
	kind  groupKind
	parts []string
}

func (g group) data() []byte {
	data := append([]byte("keyway session group 1\x00"), byte(g.kind))
	for _, part := range g.parts {
		data = binary.BigEndian.AppendUint64(data, uint64(len(part)))
		data = append(data, part...)
	}
	return data
}

// named is the group's name under a version of the salt.
func (m *Manager) named(g group, version string) (Key, error) {
	sum, err := m.o.Salt.Sum(version, g.data())
	if err != nil { // of this generation's own
		return Key{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return Key(sum), nil
}

// groupsOf are those that a session joins, and marked those whose marks it heeds.
func groupsOf(r Record) (joined, marked []group) {
	joined = []group{{byPublicID, []string{r.PublicID}}}
	if r.Issuer == "" || r.Subject == "" {
		return joined, nil
	}
	user := group{bySubject, []string{r.Issuer, r.Subject}}
	joined, marked = append(joined, user), append(marked, user)
	if r.SID != "" {
		sid := group{bySID, []string{r.Issuer, r.SID}}
		joined, marked = append(joined, sid), append(marked, sid, group{byBoth, []string{r.Issuer, r.Subject, r.SID}})
	}
	return joined, marked
}

// enrol makes the session that was just created one that EndAll finds. It fails with
// ErrUnavailable, and with ErrEnded if EndAll was there first: it leaves its mark
// before it looks for members, and a session looks for marks when it is a member. So
// one of the two sees the other.
func (m *Manager) enrol(ctx context.Context, k Key, version string, r Record) error {
	joined, marked := groupsOf(r)
	names := make([]Key, len(joined))
	for i, g := range joined {
		var err error
		if names[i], err = m.named(g, version); err != nil {
			return err
		}
	}
	// Not the idle timeout, which use puts off.
	if err := m.store.Join(ctx, k, names, m.o.Absolute); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return m.heed(ctx, marked, version, r)
}

// undoWithin bounds ending a session whose cookie nobody was given.
const undoWithin = 2 * time.Second

// undo ends it whether or not who asked still waits. If that fails it expires.
func (m *Manager) undo(ctx context.Context, k Key) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	_ = m.endKey(ctx, k)
}

// members are the keys in a group under every version of the salt that a session may
// be under, a pending one among them, which others have in use already. Under one
// that is retired nobody has a session.
func (m *Manager) members(ctx context.Context, g group) ([]Key, error) {
	var found []Key
	for _, version := range m.o.Salt.Versions() {
		name, err := m.named(g, version)
		if err != nil {
			return nil, err
		}
		keys, err := m.store.Members(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		found = append(found, keys...) // a key is hashed under one version, and is there once
	}
	return found, nil
}

// peek reads a session and leaves no trace: that is no use of it, and it is not
// cached. Errors: ErrEnded, ErrUnavailable, an unknown version.
func (m *Manager) peek(ctx context.Context, k Key) (*Session, error) {
	it, err := m.store.Get(ctx, k)
	if err != nil {
		return nil, fromStore(err)
	}
	s, err := m.open(k, it)
	switch {
	case IsUnknownVersion(err) && m.lost(it.Data):
		return nil, fmt.Errorf("%w: nobody has the keys that it rests on", ErrEnded)
	case err != nil:
		return nil, err
	case s.ended(time.Now()):
		return nil, ErrEnded
	}
	return s, nil
}

// unreadable: whoever has the keys has to see to it.
func unreadable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: a session can't be read here: %w", ErrUnavailable, err)
}

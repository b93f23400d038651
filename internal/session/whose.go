package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Whose names sessions by what they have in common: those of a subject, those of
// one session at the issuer (sid), or both. Issuer is needed, and one of the others.
type Whose struct{ Issuer, Subject, SID string }

// ErrWhose says that a Whose names nobody's sessions in particular.
var ErrWhose = errors.New("session: expected an issuer, and a subject or a sid")

// group is where the sessions of w are listed, and marked where its marks are left.
func (w Whose) group() (listed, marked group, err error) {
	user, sid := group{bySubject, []string{w.Issuer, w.Subject}}, group{bySID, []string{w.Issuer, w.SID}}
	switch {
	case w.Issuer == "" || w.Subject == "" && w.SID == "":
		return group{}, group{}, ErrWhose
	case w.SID == "":
		return user, user, nil
	case w.Subject == "":
		return sid, sid, nil
	}
	return sid, group{byBoth, []string{w.Issuer, w.Subject, w.SID}}, nil
}

// has reports whether r is one of those. What counts is the record, and not where
// it is listed.
func (w Whose) has(r Record) bool {
	return w.Issuer == r.Issuer && (w.Subject == "" || w.Subject == r.Subject) && (w.SID == "" || w.SID == r.SID)
}

// Info is what may be shown of a session to who operates this: no token, and
// nothing of the cookie.
type Info struct {
	PublicID, Provider, Issuer, Subject, SID, Email, Name string

	CreatedAt, AuthTime, Expires, AbsoluteExpiry time.Time
}

func (s *Session) info() Info {
	r := s.rec
	return Info{
		PublicID: r.PublicID, Provider: r.Provider, Issuer: r.Issuer, Subject: r.Subject, SID: r.SID, Email: r.Email, Name: r.Name,
		CreatedAt: r.CreatedAt, AuthTime: r.AuthTime, Expires: s.expires, AbsoluteExpiry: r.AbsoluteExpiry,
	}
}

// ListOptions of List.
type ListOptions struct {
	Whose Whose // the zero Whose: everybody's
	Most  int   // at most so many; at least 1
}

// EndAll ends all sessions of w, for good and everywhere, whose ID token was issued
// at until or before; a zero until is all. A sign-in that is being finished
// meanwhile with such an ID token ends up with no session, too: for five minutes
// Create refuses it, with ErrEnded. One that begins after it does not: with a zero
// until, one whose ID token is of this second or later, as far as the IdP's clock
// agrees with ours. In the second of until, which is all that most IdPs tell, what
// counts is when the sign-in began, by our clock (Record.BegunAt).
//
// It returns the records that it ended, for who has more to tell others about them,
// also when it fails. It fails with ErrWhose, and with ErrUnavailable when it can't
// know that it has ended all; it then has ended those that it could, and calling again
// goes on with it. Sessions that a release without groups created are not found.
func (m *Manager) EndAll(ctx context.Context, w Whose, until time.Time) ([]Record, error) {
	listed, marked, err := w.group()
	if err != nil {
		return nil, err
	}
	a := markOf(until, time.Now())
	for _, version := range m.o.Salt.Versions() {
		name, err := m.named(marked, version)
		if err != nil {
			return nil, err
		}
		if err := m.leave(ctx, name, a); err != nil {
			return nil, err
		}
	}
	keys, err := m.members(ctx, listed)
	if err != nil {
		return nil, err
	}
	return m.endEach(ctx, keys, func(r Record) bool {
		return w.has(r) && (until.IsZero() || a.ends(r))
	})
}

// EndByPublicID ends one session. It fails with ErrNone if there is none by that
// id, and with ErrUnavailable.
func (m *Manager) EndByPublicID(ctx context.Context, id string) (Record, error) {
	if id == "" {
		return Record{}, ErrNone
	}
	keys, err := m.members(ctx, group{byPublicID, []string{id}})
	if err != nil {
		return Record{}, err
	}
	ended, err := m.endEach(ctx, keys, func(r Record) bool { return r.PublicID == id })
	switch {
	case len(ended) > 0:
		return ended[0], nil
	case err != nil:
		return Record{}, err
	}
	return Record{}, ErrNone
}

// endEach ends those that are wanted, several at once, and returns them. One that
// fails does not keep it from the others.
func (m *Manager) endEach(ctx context.Context, keys []Key, wanted func(Record) bool) ([]Record, error) {
	var mu sync.Mutex
	var ended []Record
	err := m.some(ctx, keys, func(ctx context.Context, k Key) error {
		s, err := m.peek(ctx, k)
		switch {
		case errors.Is(err, ErrEnded):
			return nil
		case err != nil:
			return unreadable(err)
		case !wanted(*s.rec):
			return nil
		}
		if err := m.endKey(ctx, k); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, *s.rec)
		return nil
	})
	return ended, err
}

// some does work on each of the keys, sweepers at once, and returns the first error.
func (m *Manager) some(ctx context.Context, keys []Key, work func(context.Context, Key) error) error {
	var mu sync.Mutex
	var first error
	next := make(chan Key)
	var workers sync.WaitGroup
	for range min(sweepers, len(keys)) {
		workers.Go(func() {
			for k := range next {
				_, err := m.one(ctx, k, func(ctx context.Context, k Key) (bool, error) { return true, work(ctx, k) })
				if err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, k := range keys {
		next <- k
	}
	close(next)
	workers.Wait()
	return first
}

// listPage is how many records are read at once by List.
const listPage = 64

// errEnough ends the walk through the store.
var errEnough = errors.New("session: enough")

// List says which sessions live, the newest of those it found first; more, that there
// are others besides, or some that this replica has not the keys to read. Being listed
// is no use of a session. It fails with ErrWhose and ErrUnavailable. Sessions that a release without
// groups created are listed with everybody's only.
func (m *Manager) List(ctx context.Context, o ListOptions) (found []Info, more bool, err error) {
	if o.Most < 1 {
		return nil, false, fmt.Errorf("session: asked for at most %d sessions, want at least 1", o.Most)
	}
	l := lister{m: m, o: o, seen: map[string]bool{}}
	if o.Whose == (Whose{}) {
		page := make([]Key, 0, listPage)
		err = m.heads(ctx, func(k Key, _ head) error {
			if page = append(page, k); len(page) < listPage {
				return nil
			}
			err := l.read(ctx, page)
			page = page[:0]
			return err
		})
		if err == nil {
			err = l.read(ctx, page)
		}
	} else {
		listed, _, err := o.Whose.group()
		if err != nil {
			return nil, false, err
		}
		keys, err := m.members(ctx, listed)
		if err != nil {
			return nil, false, err
		}
		for page := range slices.Chunk(keys, listPage) {
			if err := l.read(ctx, page); err != nil {
				return l.done(err)
			}
		}
	}
	return l.done(err)
}

// lister collects what List finds.
type lister struct {
	m     *Manager
	o     ListOptions
	mu    sync.Mutex
	seen  map[string]bool // the walk may visit one twice
	found []Info
	more  bool
}

// read fails with errEnough when there is one more than was asked for.
func (l *lister) read(ctx context.Context, keys []Key) error {
	err := l.m.some(ctx, keys, func(ctx context.Context, k Key) error {
		s, err := l.m.peek(ctx, k)
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case errors.Is(err, ErrEnded):
		case IsUnknownVersion(err):
			l.more = true
		case err != nil:
			return unreadable(err)
		case l.o.Whose == (Whose{}) || l.o.Whose.has(*s.rec):
			if !l.seen[s.rec.PublicID] {
				l.seen[s.rec.PublicID] = true
				l.found = append(l.found, s.info())
			}
		}
		return nil
	})
	if err == nil && len(l.found) > l.o.Most {
		return errEnough
	}
	return err
}

func (l *lister) done(err error) ([]Info, bool, error) {
	if err != nil && !errors.Is(err, errEnough) {
		return nil, false, err
	}
	if len(l.found) > l.o.Most {
		l.found, l.more = l.found[:l.o.Most], true
	}
	slices.SortFunc(l.found, func(a, b Info) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.PublicID, b.PublicID))
	})
	return l.found, l.more, nil
}

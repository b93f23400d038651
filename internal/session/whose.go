package session

import (
	"context"
	"fmt"
	"time"
)

// Whose names sessions by what they have in common: those of a subject, those of
// one session at the issuer (sid), or both. Issuer is needed, and one of the others.
type Whose struct{ Issuer, Subject, SID string }

// Info is what may be shown of a session to who operates this: no token, and
// nothing of the cookie.
type Info struct {
	PublicID, Provider, Issuer, Subject, SID, Email, Name string

	CreatedAt, AuthTime, Expires, AbsoluteExpiry time.Time
}

// ListOptions of List.
type ListOptions struct {
	Whose Whose // the zero Whose: everybody's
	Most  int   // at most so many; at least 1
}

// EndAll ends all sessions of w, for good and everywhere, whose ID token was issued
// at until or before; a zero until is all. A sign-in that is being finished
// meanwhile with such an ID token ends up with no session, too. It returns the records that it ended, for who
// has more to tell others about them. It fails with ErrUnavailable when it can't
// know that it has ended all; calling again goes on with it.
func (m *Manager) EndAll(ctx context.Context, w Whose, until time.Time) ([]Record, error) {
	return nil, fmt.Errorf("%w: not there yet", ErrUnavailable)
}

// EndByPublicID ends one session. It fails with ErrNone if there is none by that
// id, and with ErrUnavailable.
func (m *Manager) EndByPublicID(ctx context.Context, id string) (Record, error) {
	return Record{}, fmt.Errorf("%w: not there yet", ErrUnavailable)
}

// List says which sessions live; more, that there are others besides. It fails with
// ErrUnavailable.
func (m *Manager) List(ctx context.Context, o ListOptions) (found []Info, more bool, err error) {
	return nil, false, fmt.Errorf("%w: not there yet", ErrUnavailable)
}

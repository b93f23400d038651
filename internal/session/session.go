package session

import (
	"log/slog"
	"sync/atomic"
	"time"

	"keyway/internal/principal"
	"keyway/internal/secret"
)

// Session is a session as it was when it was read. It is immutable and safe for
// concurrent use; one that was found a moment ago may have ended since.
type Session struct {
	key       Key
	salt      string // version of the salt that key is hashed under
	rec       *Record
	more      unknown // fields of the record that a newer version wrote
	revision  uint64
	expires   time.Time // when the store forgets it: idle or absolute
	refreshAt time.Time // when a refresh is due; zero: never
	freshTill time.Time // until when the cache may answer with it

	// touched is set by the request that takes it on to write the idle timeout.
	touched atomic.Bool
	// seen is the last client that the binding was checked for, so that a busy
	// client costs no hash a request.
	seen atomic.Pointer[seen]
}

type seen struct {
	by *Manager
	c  Client
}

// Record is the whole record. What its maps, slices and values hold must not be
// changed.
func (s *Session) Record() Record { return *s.rec }

// PublicID names the session where the cookie must not be known.
func (s *Session) PublicID() string { return s.rec.PublicID }

// Key is the name of the record in the store.
func (s *Session) Key() Key { return s.key }

// AccessToken is the session's access token.
func (s *Session) AccessToken() secret.Value { return s.rec.AccessToken }

// AccessValid reports whether the access token can be expected to be accepted
// for a few more seconds. One of unknown expiry is.
func (s *Session) AccessValid(now time.Time) bool { return accessValid(s.rec, now) }

// Expires is when the session ends if nobody uses it any more.
func (s *Session) Expires() time.Time { return s.expires }

// AbsoluteExpiry is when it ends whatever happens.
func (s *Session) AbsoluteExpiry() time.Time { return s.rec.AbsoluteExpiry }

// Principal is who is signed in. Rights that have lapsed are not among what he has.
func (s *Session) Principal() principal.Principal {
	who := principal.Principal{
		Provider: s.rec.Provider, Subject: s.rec.Subject, Email: s.rec.Email, Name: s.rec.Name,
		SessionID: s.rec.PublicID, AuthTime: s.rec.AuthTime,
		Roles: s.rec.Roles, Permissions: s.rec.Permissions,
	}
	if s.RightsLapsed(time.Now()) {
		who.Roles, who.Permissions, who.RightsLapsed = nil, nil, true
	}
	return who
}

// user is who is signed in, to count by: whoever has six sessions is one.
func (s *Session) user() string { return s.rec.Provider + "\x00" + s.rec.Subject }

// String and LogValue show what a Record shows.
func (s *Session) String() string { return "session " + s.rec.PublicID }

// LogValue implements slog.LogValuer.
func (s *Session) LogValue() slog.Value { return s.rec.LogValue() }

// ended reports whether the session is over by its own dates.
func (s *Session) ended(now time.Time) bool {
	return !now.Before(s.rec.AbsoluteExpiry) || !now.Before(s.expires)
}

// weight is about what the session takes in memory, in bytes.
func (s *Session) weight() uint32 {
	r := s.rec
	n := 1290 + len(s.salt) // this struct, the Record, the cache's own
	n += len(r.PublicID) + len(r.Provider) + len(r.Issuer) + len(r.Subject) + len(r.SID) + len(r.Email) + len(r.Name) + len(r.Scope)
	n += r.AccessToken.Len() + r.RefreshToken.Len() + r.IDToken.Len()
	for _, list := range [][]string{r.Roles, r.Permissions} {
		for _, v := range list {
			n += 16 + len(v)
		}
	}
	for name, v := range r.Claims {
		n += 64 + len(name) + len(v)
	}
	for name, v := range s.more {
		n += 64 + len(name) + len(v)
	}
	return uint32(n)
}

package session

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/seal"
)

// Purposes to derive with (see package seal) for what Options asks for.
const (
	PurposeSalt   = "session id"
	PurposeRecord = "session record"
	PurposeUA     = "session binding"
)

// Options of New.
type Options struct {
	Shared *Shared
	Salt   *seal.Hasher // token-hash-salt, PurposeSalt
	Sealer *seal.Sealer // session-key, PurposeRecord
	UA     *seal.Hasher // ua-hash-salt, PurposeUA; may be nil while Binding is off

	Cookie  CookieOptions
	Binding BindingOptions

	Idle     time.Duration // ends a session that nobody uses; 0: only Absolute does
	Absolute time.Duration // ends every session; required

	RefreshAhead   time.Duration // at most so long before an access token ends; 0: when it is over
	RefreshTimeout time.Duration // for one answer of the IdP; 30 s if 0

	// Alone: nobody else uses the store. A session that rests on a version (of
	// Sealer or UA) that this replica lacks is then of use to nobody: it is ended.
	Alone bool
	// Lost is asked about the version that a record is sealed under where others use the store
	// too, and reports whether no replica has it any more. The record then counts
	// as ended, but is left where it is. Until then, and if Lost is nil, the answer
	// is that nobody can know yet. It must be quick.
	Lost func(version string) bool
	// HasTokenKey reports whether access tokens that are bound to that version of the
	// key (Record.TokenKey) can be used; nil: all can. Others are renewed before they are
	// used.
	HasTokenKey func(version string) bool
	// Orphaned, if set, is given the tokens that the IdP issued for a session that
	// was ended meanwhile: nobody else knows of them, and they should be revoked.
	// It is called beside the request, for at most 10 s.
	Orphaned func(ctx context.Context, rec Record)
}

// Manager finds, makes, changes and ends sessions. It is immutable and safe for
// concurrent use. One is built for each generation.
type Manager struct {
	o       Options
	shared  *Shared
	store   Store
	cookies cookies
}

// New checks o. What outlives the requests of earlier generations, such as a
// refresh under way, goes on with the keys of the manager that was made last.
func New(o Options) (*Manager, error) {
	switch {
	case o.Shared == nil || o.Salt == nil || o.Sealer == nil:
		return nil, errors.New("session: Shared, Salt and Sealer are required")
	case o.UA == nil && !o.Binding.off():
		return nil, errors.New("session: binding needs the ua-hash-salt")
	case o.Absolute < time.Second:
		return nil, fmt.Errorf("session: the absolute lifetime is %v, want at least a second", o.Absolute)
	case o.Idle != 0 && o.Idle < time.Second:
		return nil, fmt.Errorf("session: the idle timeout is %v, want at least a second, or 0 for none", o.Idle)
	case o.Binding.PrefixV4 < 0 || o.Binding.PrefixV4 > 32:
		return nil, fmt.Errorf("session: binding to %d bits of IPv4, want 0 (off) to 32", o.Binding.PrefixV4)
	case o.Binding.PrefixV6 < 0 || o.Binding.PrefixV6 > 128:
		return nil, fmt.Errorf("session: binding to %d bits of IPv6, want 0 (off) to 128", o.Binding.PrefixV6)
	case o.RefreshAhead < 0 || o.RefreshTimeout < 0:
		return nil, errors.New("session: negative refresh times")
	}
	if o.RefreshTimeout == 0 {
		o.RefreshTimeout = 30 * time.Second
	}
	c, err := newCookies(o.Cookie)
	if err != nil {
		return nil, err
	}
	m := &Manager{o: o, shared: o.Shared, store: o.Shared.store, cookies: c}
	o.Shared.newest.Store(m)
	return m, nil
}

// latest is the manager with the newest keys. A refresh can take longer than a
// rotation: what it then saves under a version that was active when it began might
// be the first thing that nobody can open any more.
func (m *Manager) latest() *Manager { return m.shared.newest.Load() }

// CookieName is the name of the session cookie, which no upstream may see.
func (m *Manager) CookieName() string { return m.cookies.name }

// ClearCookie makes the browser forget the session cookie.
func (m *Manager) ClearCookie() *http.Cookie { return m.cookies.clear() }

// Create starts a session for what a sign-in has found out, under a new id. It
// fails with ErrTooLarge or ErrUnavailable, and with ErrEnded if the user's sessions
// were ended (EndAll) while the sign-in was under way; there is no session then.
func (m *Manager) Create(ctx context.Context, rec Record, c Client) (*http.Cookie, *Session, error) {
	now := time.Now()
	rec = rec.clone()
	rec.PublicID = newPublicID()
	rec.CreatedAt = now
	rec.AbsoluteExpiry = now.Add(m.o.Absolute)
	var err error
	if rec.Binding, err = bind(m.o.UA, m.o.Binding, c); err != nil {
		return nil, nil, fmt.Errorf("session: binding: %w", err)
	}
	var id [idBytes]byte
	rand.Read(id[:])
	version := m.o.Salt.ActiveVersion()
	sum, err := m.o.Salt.Sum(version, id[:])
	if err != nil {
		return nil, nil, fmt.Errorf("session: hashing the id: %w", err)
	}
	key := Key(sum)
	data, err := m.seal(key, version, rec, nil)
	if err != nil {
		return nil, nil, err
	}
	it, err := m.store.Create(ctx, key, data, m.ttl(now, rec.AbsoluteExpiry))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := m.enrol(ctx, key, version, rec); err != nil {
		m.undo(ctx, key)
		return nil, nil, err
	}
	return m.cookies.make(version, id, m.o.Absolute), m.session(key, version, &rec, nil, it), nil
}

// Renew is Create at sign-in: whatever session the request's cookie names is
// ended, whoever put the cookie there, and nothing of it is carried over
// (session fixation). If that can't be done, there is no new session either. A
// version that this replica lacks counts as nobody's: ask Knows first.
func (m *Manager) Renew(ctx context.Context, cookieHeaders []string, rec Record, c Client) (*http.Cookie, *Session, error) {
	cookie, s, err := m.Create(ctx, rec, c)
	if err != nil {
		return nil, nil, err
	}
	old, err := m.key(cookieHeaders)
	if err != nil { // nothing that could be a session here
		return cookie, s, nil
	}
	if err := m.endKey(ctx, old); err != nil {
		_ = m.endKey(ctx, s.key) // nobody has its cookie; else it expires
		return nil, nil, err
	}
	return cookie, s, nil
}

// End ends the session, for good and everywhere. It fails with ErrUnavailable
// when it could not; the session then lives on.
func (m *Manager) End(ctx context.Context, s *Session) error { return m.endKey(ctx, s.key) }

func (m *Manager) endKey(ctx context.Context, k Key) error {
	err := m.store.Delete(ctx, k)
	m.shared.cache.drop(k)
	m.shared.watchers.tell([]Key{k})
	return fromStore(err)
}

// updateTries is how often Update starts over when somebody else was faster.
const updateTries = 8

// Update changes the record, and returns the session as it then is. fn may be
// called several times, each time with the record as it now is; who the session
// is of, its ids, binding and dates stay what they are. The times at which it
// ends do not move. Errors: ErrEnded, ErrUnavailable, ErrTooLarge, an unknown
// version.
func (m *Manager) Update(ctx context.Context, s *Session, fn func(Record) Record) (*Session, error) {
	for range updateTries {
		now, err := m.load(ctx, s.key)
		if err != nil {
			return nil, err
		}
		next, err := m.replace(ctx, now, fn(now.rec.clone()))
		if errors.Is(err, ErrConflict) {
			continue
		}
		return next, err
	}
	return nil, fmt.Errorf("%w: changed by others %d times in a row", ErrUnavailable, updateTries)
}

// replace writes rec over the record that s was read with. It fails with
// ErrConflict if that is no longer what is stored.
func (m *Manager) replace(ctx context.Context, s *Session, rec Record) (*Session, error) {
	rec = rec.keepFixed(*s.rec)
	data, err := m.seal(s.key, s.salt, rec, s.more)
	if err != nil {
		return nil, err
	}
	it, err := m.store.Replace(ctx, s.key, s.revision, data)
	if errors.Is(err, ErrConflict) {
		return nil, err
	}
	m.shared.cache.drop(s.key)
	if err != nil {
		return nil, fromStore(err)
	}
	return m.session(s.key, s.salt, &rec, s.more, it), nil
}

func (m *Manager) seal(k Key, salt string, rec Record, more unknown) ([]byte, error) {
	plain, err := encode(rec, more)
	if err != nil {
		return nil, err
	}
	return m.sealed(k, salt, rec.Binding.Version, plain), nil
}

func (m *Manager) session(k Key, salt string, rec *Record, more unknown, it Item) *Session {
	return &Session{
		key: k, salt: salt, rec: rec, more: more, revision: it.Revision, expires: it.Expires,
		refreshAt: refreshAt(rec, m.o.RefreshAhead),
	}
}

// ttl is how long a session that is used now may stay in the store.
func (m *Manager) ttl(now, absolute time.Time) time.Duration {
	left := absolute.Sub(now)
	if m.o.Idle > 0 {
		return min(m.o.Idle, left)
	}
	return left
}

// key is the store's name for what the cookie names. It fails with ErrNone,
// ErrEnded for a retired version of the salt, or an unknown version.
func (m *Manager) key(cookieHeaders []string) (Key, error) {
	version, id, ok := m.cookies.find(cookieHeaders)
	if !ok {
		return Key{}, ErrNone
	}
	sum, err := m.o.Salt.Sum(version, id[:])
	if err != nil {
		return Key{}, fromCookieKey(version, err)
	}
	return Key(sum), nil
}

// Knows reports, by an unknown version, that this replica lacks the version of the
// salt that the request's cookie names. Whatever else is to be said of the cookie
// is nil here. It asks nobody.
func (m *Manager) Knows(cookieHeaders []string) error {
	if _, err := m.key(cookieHeaders); IsUnknownVersion(err) {
		return err
	}
	return nil
}

func newPublicID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// IsUnknownVersion reports whether err says that this replica lacks a version of
// a secret that others have, so that reading the sources again may help.
func IsUnknownVersion(err error) bool { return errors.Is(err, keyring.ErrUnknownVersion) }

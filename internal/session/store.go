package session

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// Key names a record in a store: the salted hash of the id that the cookie
// holds. Who reads a store can't make a cookie from it.
type Key [32]byte

// String is the key in hex. It is safe to show: it is a hash.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// ParseKey reverses String.
func ParseKey(s string) (k Key, ok bool) {
	if len(s) != hex.EncodedLen(len(k)) {
		return Key{}, false
	}
	_, err := hex.Decode(k[:], []byte(s))
	return k, err == nil
}

// Item is what a store holds under a key.
type Item struct {
	Data []byte // sealed; the store can't read it. Not to be changed by anybody
	// Revision changes with every Replace. It is good for nothing but being
	// compared: it neither counts nor grows.
	Revision uint64
	Expires  time.Time // when the store will forget the item, to a millisecond
}

// What a store says. Any other error, a cancelled or expired context among
// them, means that the store can't know, and must never be taken for
// ErrNotFound: the one ends a session, the other must not.
var (
	ErrNotFound = errors.New("session store: not found")
	ErrExists   = errors.New("session store: exists already")
	ErrConflict = errors.New("session store: changed meanwhile")
)

// Records keeps items until they expire. A ttl is positive; the store may round
// it up to a millisecond.
type Records interface {
	// Get fails with ErrNotFound for what is not there or has expired.
	Get(ctx context.Context, k Key) (Item, error)
	// Create fails with ErrExists if there is such an item.
	Create(ctx context.Context, k Key, data []byte, ttl time.Duration) (Item, error)
	// Replace is a compare-and-set. It fails with ErrConflict if the item has
	// another revision, and with ErrNotFound if it is gone, so that whoever
	// works on a copy can't bring an ended session back. The time at which the
	// item expires stays as it is.
	Replace(ctx context.Context, k Key, revision uint64, data []byte) (Item, error)
	// Extend makes the item live for ttl from now. The revision stays. It fails
	// with ErrNotFound.
	Extend(ctx context.Context, k Key, ttl time.Duration) error
	// Delete does not mind if there is no such item.
	Delete(ctx context.Context, k Key) error
	// Count is the number of items that have not expired. It may be off by
	// those that expired, came or went in the last seconds.
	Count(ctx context.Context) (int, error)
	// Heads visits every live item, with the first n bytes of its data, or all if
	// there are less. It may miss or repeat what is created, deleted or expires
	// meanwhile, and misses nothing else: what is replaced or extended is visited. An
	// error of visit ends it, and is returned. head is good until visit returns;
	// visit may call the store.
	Heads(ctx context.Context, n int, visit func(k Key, head []byte) error) error
}

// Groups are lists of keys, for finding records by what they have in common. A
// group is there while it has a member, and no longer; its name says nothing to who
// reads the store. A key may be in any number of groups, whether or not there is
// such a record: nothing but time takes it out again.
type Groups interface {
	// Join puts k into the groups, in each for ttl from now; where it is already,
	// the new time counts. On an error it may be in some of them.
	Join(ctx context.Context, k Key, groups []Key, ttl time.Duration) error
	// Members are the keys in a group, in no order: all whose Join returned before
	// and whose time is not over. Their records may be gone.
	Members(ctx context.Context, group Key) ([]Key, error)
}

// Leases are claims on a name that end by themselves. A one-time claim (a
// callback, a jti) is an Acquire that nobody releases.
type Leases interface {
	// Acquire reports whether owner now has the name. It is false whoever holds
	// it, the same owner included, so an owner that did not hear the answer has
	// to wait for the ttl or to Renew.
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
	// Renew makes the lease live for ttl from now, and reports whether owner
	// still has it.
	Renew(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
	// Release frees the name if owner has it.
	Release(ctx context.Context, name, owner string) error
	// Holder is who has the name now. held is false when nobody does.
	Holder(ctx context.Context, name string) (owner string, held bool, err error)
}

// Notifier tells which items changed, here or on another replica.
type Notifier interface {
	// Changes has fn called after a Replace or Delete of a key that this process
	// has read by Get since it was last told of it. Other keys may be told too,
	// and Create, Extend and expiry may count as changes. all means: any key may
	// have changed, as after a lost connection.
	//
	// A Get that returns what was there before a change has begun before fn is
	// called for that change. fn must be quick and must not call the store. stop
	// may be called at any time and does not wait for a running fn.
	Changes(fn func(keys []Key, all bool)) (stop func())
}

// Store is where records live. All methods are safe for concurrent use, and
// none of those with a context outlives its deadline.
type Store interface {
	Records
	Groups
	Leases
	Notifier
	// Ping asks whether the store can be used now.
	Ping(ctx context.Context) error
	// Close waits for what is under way. The store can't be used afterwards.
	Close() error
}

// Listeners is what a store builds its Changes on. The zero value is ready.
type Listeners struct {
	mu   sync.RWMutex
	next int
	fns  map[int]func([]Key, bool)
}

// Add registers fn until stop is called.
func (l *Listeners) Add(fn func(keys []Key, all bool)) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fns == nil {
		l.fns = map[int]func([]Key, bool){}
	}
	id := l.next
	l.next++
	l.fns[id] = fn
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.fns, id)
	}
}

// Fire calls every listener.
func (l *Listeners) Fire(keys []Key, all bool) {
	l.mu.RLock()
	fns := slices.Collect(maps.Values(l.fns))
	l.mu.RUnlock()
	for _, fn := range fns {
		fn(keys, all)
	}
}

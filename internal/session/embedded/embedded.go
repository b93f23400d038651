package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterr "go.etcd.io/bbolt/errors"

	"keyway/internal/session"
)

// FileName is the name of the file in the folder given to Open.
const FileName = "sessions.db"

const (
	lockWait   = time.Second
	sweepEvery = 30 * time.Second
	// batchDelay is how long a writer waits for others to share its fsync.
	batchDelay = time.Millisecond
	// sweepBatch keeps a sweep's transactions short, because writers wait for it.
	sweepBatch = 1000
)

var (
	bucketRecords = []byte("records") // key -> revision(8) | expires(8, Unix ms) | data
	bucketExpiry  = []byte("expiry")  // expires(8) | kind(1) | name -> nothing
	bucketLeases  = []byte("leases")  // name -> expires(8) | owner
	bucketGroups  = []byte("groups")  // group(32) | member(32) -> expires(8)
)

// Kinds of name in the expiry bucket.
const (
	kindRecord = 'r'
	kindLease  = 'l'
	kindMember = 'g'
)

const recordHeader = 16

// Store is a session.Store in a file.
type Store struct {
	db        *bolt.DB
	listeners session.Listeners
	stop      chan struct{}
	closing   sync.Once
	swept     sync.WaitGroup
}

var _ session.Store = (*Store)(nil)

// Open opens or makes the file in dir, and dir too if need be. It fails if
// others could read them, or if another process has the file. It runs one
// goroutine until Close.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("session store: data folder (BFF_DATA_DIR): %w", err)
	}
	if err := private(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, FileName)
	if err := private(path, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterr.ErrTimeout):
		return nil, fmt.Errorf("session store: %s is in use by another process; one process has a data folder at a time: "+
			"end the other, give each its own BFF_DATA_DIR, or let them share sessions through REDIS_URL", path)
	case err != nil:
		return nil, fmt.Errorf("session store: %s: %w", path, err)
	}
	db.MaxBatchDelay = batchDelay
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketRecords, bucketExpiry, bucketLeases, bucketGroups} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("session store: %s: %w", path, err)
	}
	s := &Store{db: db, stop: make(chan struct{})}
	s.swept.Go(func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				s.sweep(time.Now())
			}
		}
	})
	return s, nil
}

func private(path string, want fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("session store: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("session store: %s has mode %04o, so others can get at it; want %04o (chmod %04o %s)", path, mode, want, want, path)
	}
	return nil
}

// errDefect is what a panic is to who waits: it must not end everybody's requests.
var errDefect = errors.New("session store: met a defect")

// write runs fn in a transaction that is on the disk when write returns nil.
// Transactions of callers that come at the same time share one fsync. When ctx
// ends first, fn may still be carried out, so what it sets may be read only when
// write returns nil.
//
// fn may run more than once, and must set what it returns afresh each time.
func (s *Store) write(ctx context.Context, fn func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if recover() != nil { // not the panic's own text: it may have anything
				done <- errDefect
			}
		}()
		// Batch makes others wait for what shares their transaction, so an fn
		// that refuses says so through refused instead of failing them.
		var refused error
		err := s.db.Batch(func(tx *bolt.Tx) error {
			refused = fn(tx)
			if isAnswer(refused) {
				return nil
			}
			return refused
		})
		if err == nil {
			err = refused
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isAnswer tells errors that fn returns before it has changed anything.
func isAnswer(err error) bool {
	return errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrExists) || errors.Is(err, session.ErrConflict)
}

func expiryName(expires int64, kind byte, name []byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(name)), uint64(expires))
	return append(append(b, kind), name...)
}

// sweep forgets what has expired.
func (s *Store) sweep(now time.Time) {
	for more := true; more; {
		more = false
		err := s.db.Update(func(tx *bolt.Tx) error {
			expiry := tx.Bucket(bucketExpiry)
			limit := uint64(now.UnixMilli())
			var due [][]byte
			c := expiry.Cursor()
			for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k) <= limit; k, _ = c.Next() {
				if len(due) == sweepBatch {
					more = true
					break
				}
				due = append(due, append([]byte(nil), k...))
			}
			for _, k := range due {
				bucket := bucketRecords
				switch k[8] {
				case kindLease:
					bucket = bucketLeases
				case kindMember:
					bucket = bucketGroups
				}
				if err := tx.Bucket(bucket).Delete(k[9:]); err != nil {
					return err
				}
				if err := expiry.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return // the next sweep tries again; what has expired is not served meanwhile
		}
		select {
		case <-s.stop:
			return
		default:
		}
	}
}

// Changes implements session.Notifier.
func (s *Store) Changes(fn func([]session.Key, bool)) (stop func()) { return s.listeners.Add(fn) }

// Ping implements session.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.View(func(*bolt.Tx) error { return nil })
}

// Close implements session.Store.
func (s *Store) Close() error {
	s.closing.Do(func() { close(s.stop) })
	s.swept.Wait()
	return s.db.Close()
}

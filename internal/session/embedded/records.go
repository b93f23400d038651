package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"keyway/internal/session"
)

// record is a stored item as it lies in the file.
type record struct {
	revision uint64
	expires  int64 // Unix ms
	data     []byte
}

// find is for the time of the transaction only: data is the file's own memory.
func find(tx *bolt.Tx, k session.Key, now time.Time) (record, error) {
	raw := tx.Bucket(bucketRecords).Get(k[:])
	if len(raw) < recordHeader {
		return record{}, session.ErrNotFound
	}
	r := record{
		revision: binary.BigEndian.Uint64(raw),
		expires:  int64(binary.BigEndian.Uint64(raw[8:])),
		data:     raw[recordHeader:],
	}
	if now.UnixMilli() >= r.expires {
		return r, session.ErrNotFound
	}
	return r, nil
}

func (r record) item() session.Item {
	return session.Item{
		Data:     append([]byte(nil), r.data...),
		Revision: r.revision,
		Expires:  time.UnixMilli(r.expires),
	}
}

// put writes r, and moves its entry in the expiry bucket from old, if that is
// another time.
func put(tx *bolt.Tx, k session.Key, r record, old int64) error {
	if old != r.expires {
		expiry := tx.Bucket(bucketExpiry)
		if err := expiry.Delete(expiryName(old, kindRecord, k[:])); err != nil {
			return err
		}
		if err := expiry.Put(expiryName(r.expires, kindRecord, k[:]), nil); err != nil {
			return err
		}
	}
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, recordHeader+len(r.data)), r.revision)
	raw = binary.BigEndian.AppendUint64(raw, uint64(r.expires))
	return tx.Bucket(bucketRecords).Put(k[:], append(raw, r.data...))
}

func newRevision() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// until is ttl from now in whole milliseconds, rounded up.
func until(now time.Time, ttl time.Duration) int64 {
	return now.Add(ttl + time.Millisecond - 1).UnixMilli()
}

// Get implements session.Records.
func (s *Store) Get(ctx context.Context, k session.Key) (it session.Item, err error) {
	if err := ctx.Err(); err != nil {
		return it, err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		r, err := find(tx, k, time.Now())
		if err == nil {
			it = r.item()
		}
		return err
	})
	return it, err
}

// Create implements session.Records.
func (s *Store) Create(ctx context.Context, k session.Key, data []byte, ttl time.Duration) (session.Item, error) {
	now := time.Now()
	r := record{newRevision(), until(now, ttl), data}
	err := s.write(ctx, func(tx *bolt.Tx) error {
		old, err := find(tx, k, now)
		if err == nil {
			return session.ErrExists
		}
		return put(tx, k, r, old.expires)
	})
	if err != nil {
		return session.Item{}, err
	}
	return r.item(), nil
}

// Replace implements session.Records.
func (s *Store) Replace(ctx context.Context, k session.Key, revision uint64, data []byte) (session.Item, error) {
	r := record{revision: newRevision(), data: data}
	err := s.write(ctx, func(tx *bolt.Tx) error {
		old, err := find(tx, k, time.Now())
		if err != nil {
			return err
		}
		if old.revision != revision {
			return session.ErrConflict
		}
		r.expires = old.expires
		return put(tx, k, r, old.expires)
	})
	if err != nil {
		return session.Item{}, err
	}
	s.listeners.Fire([]session.Key{k}, false)
	return r.item(), nil
}

// Extend implements session.Records.
func (s *Store) Extend(ctx context.Context, k session.Key, ttl time.Duration) error {
	return s.write(ctx, func(tx *bolt.Tx) error {
		now := time.Now()
		r, err := find(tx, k, now)
		if err != nil {
			return err
		}
		old := r.expires
		r.expires = until(now, ttl)
		return put(tx, k, r, old)
	})
}

// Delete implements session.Records.
func (s *Store) Delete(ctx context.Context, k session.Key) error {
	err := s.write(ctx, func(tx *bolt.Tx) error {
		r, _ := find(tx, k, time.Now())
		if err := tx.Bucket(bucketExpiry).Delete(expiryName(r.expires, kindRecord, k[:])); err != nil {
			return err
		}
		return tx.Bucket(bucketRecords).Delete(k[:])
	})
	if err == nil {
		s.listeners.Fire([]session.Key{k}, false)
	}
	return err
}

// Count implements session.Records. It walks over what expires later than now.
func (s *Store) Count(ctx context.Context) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketExpiry).Cursor()
		from := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))
		for k, _ := c.Seek(from); k != nil; k, _ = c.Next() {
			if k[8] == kindRecord {
				n++
			}
			if n%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	return n, err
}

// headsPage is how many heads are read in one transaction: one that stays open for
// long keeps the file from using space again, and what it has freed from being
// used.
const headsPage = 1000

// Heads implements session.Records.
func (s *Store) Heads(ctx context.Context, n int, visit func(session.Key, []byte) error) error {
	type found struct {
		key  session.Key
		head []byte
	}
	var after []byte // the last key seen
	for page := make([]found, 0, headsPage); ; page = page[:0] {
		if err := ctx.Err(); err != nil {
			return err
		}
		seen := 0
		err := s.db.View(func(tx *bolt.Tx) error {
			now := time.Now().UnixMilli()
			c := tx.Bucket(bucketRecords).Cursor()
			k, raw := c.Seek(after)
			if after != nil && bytes.Equal(k, after) {
				k, raw = c.Next()
			}
			for ; k != nil && seen < headsPage; k, raw = c.Next() {
				seen++
				after = append(after[:0], k...)
				if len(k) != len(session.Key{}) || len(raw) < recordHeader || now >= int64(binary.BigEndian.Uint64(raw[8:])) {
					continue
				}
				data := raw[recordHeader:]
				page = append(page, found{session.Key(k), bytes.Clone(data[:min(n, len(data))])})
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, f := range page {
			if err := visit(f.key, f.head); err != nil {
				return err
			}
		}
		if seen < headsPage {
			return nil
		}
	}
}

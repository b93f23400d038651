package embedded

import (
	"context"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"
)

// holder is who has the name, and until when; nobody if the lease has expired.
// expires is set even then.
func holder(tx *bolt.Tx, name string, now time.Time) (owner string, expires int64, held bool) {
	raw := tx.Bucket(bucketLeases).Get([]byte(name))
	if len(raw) < 8 {
		return "", 0, false
	}
	expires = int64(binary.BigEndian.Uint64(raw))
	return string(raw[8:]), expires, now.UnixMilli() < expires
}

func lease(tx *bolt.Tx, name, owner string, old, expires int64) error {
	expiry := tx.Bucket(bucketExpiry)
	if err := expiry.Delete(expiryName(old, kindLease, []byte(name))); err != nil {
		return err
	}
	if err := expiry.Put(expiryName(expires, kindLease, []byte(name)), nil); err != nil {
		return err
	}
	raw := binary.BigEndian.AppendUint64(nil, uint64(expires))
	return tx.Bucket(bucketLeases).Put([]byte(name), append(raw, owner...))
}

// Acquire implements session.Leases. A claim outlives the process, as a
// one-time claim must.
func (s *Store) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	var got bool // fn's alone, unless write returns nil: see there
	err := s.write(ctx, func(tx *bolt.Tx) error {
		now := time.Now()
		_, old, held := holder(tx, name, now)
		if got = !held; !got {
			return nil
		}
		return lease(tx, name, owner, old, until(now, ttl))
	})
	return err == nil && got, err
}

// Renew implements session.Leases.
func (s *Store) Renew(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	var got bool
	err := s.write(ctx, func(tx *bolt.Tx) error {
		now := time.Now()
		who, old, held := holder(tx, name, now)
		if got = held && who == owner; !got {
			return nil
		}
		return lease(tx, name, owner, old, until(now, ttl))
	})
	return err == nil && got, err
}

// Release implements session.Leases.
func (s *Store) Release(ctx context.Context, name, owner string) error {
	return s.write(ctx, func(tx *bolt.Tx) error {
		who, old, held := holder(tx, name, time.Now())
		if !held || who != owner {
			return nil
		}
		if err := tx.Bucket(bucketExpiry).Delete(expiryName(old, kindLease, []byte(name))); err != nil {
			return err
		}
		return tx.Bucket(bucketLeases).Delete([]byte(name))
	})
}

// Holder implements session.Leases.
func (s *Store) Holder(ctx context.Context, name string) (owner string, held bool, err error) {
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		owner, _, held = holder(tx, name, time.Now())
		return nil
	})
	if !held {
		owner = ""
	}
	return owner, held, err
}

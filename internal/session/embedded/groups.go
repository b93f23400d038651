package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"keyway/internal/session"
)

// Join implements session.Groups. It joins all or none, in one transaction, and
// outlives the process as the session does.
func (s *Store) Join(ctx context.Context, k session.Key, groups []session.Key, ttl time.Duration) error {
	return s.write(ctx, func(tx *bolt.Tx) error {
		members, expiry := tx.Bucket(bucketGroups), tx.Bucket(bucketExpiry)
		expires := until(time.Now(), ttl)
		for _, group := range groups {
			name := append(group[:], k[:]...)
			if old := members.Get(name); len(old) == 8 {
				if err := expiry.Delete(expiryName(int64(binary.BigEndian.Uint64(old)), kindMember, name)); err != nil {
					return err
				}
			}
			if err := expiry.Put(expiryName(expires, kindMember, name), nil); err != nil {
				return err
			}
			if err := members.Put(name, binary.BigEndian.AppendUint64(nil, uint64(expires))); err != nil {
				return err
			}
		}
		return nil
	})
}

// Members implements session.Groups.
func (s *Store) Members(ctx context.Context, group session.Key) (keys []session.Key, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		now := time.Now().UnixMilli()
		c := tx.Bucket(bucketGroups).Cursor()
		for name, at := c.Seek(group[:]); bytes.HasPrefix(name, group[:]); name, at = c.Next() {
			if len(name) == 2*len(group) && len(at) == 8 && now < int64(binary.BigEndian.Uint64(at)) {
				keys = append(keys, session.Key(name[len(group):]))
			}
		}
		return nil
	})
	return keys, err
}

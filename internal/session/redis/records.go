package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"keyway/internal/session"
)

const revisionBytes = 8

func (s *Store) recordName(k session.Key) string {
	hex := k.String()
	return s.prefix + "s:{" + hex[:2] + "}:" + hex
}

func (s *Store) parseRecordName(name string) (session.Key, bool) {
	rest, ok := strings.CutPrefix(name, s.prefix+"s:{")
	if !ok || len(rest) < 4 {
		return session.Key{}, false
	}
	return session.ParseKey(rest[4:])
}

func (s *Store) indexName(bucket byte) string { return fmt.Sprintf("%si:{%02x}", s.prefix, bucket) }

func (s *Store) names(k session.Key) []string { return []string{s.recordName(k), s.indexName(k[0])} }

// ms is ttl in whole milliseconds, rounded up.
func ms(ttl time.Duration) string {
	return strconv.FormatInt(max(1, (ttl+time.Millisecond-1).Milliseconds()), 10)
}

func withRevision(data []byte) (uint64, string) {
	b := make([]byte, revisionBytes, revisionBytes+len(data))
	rand.Read(b)
	return binary.BigEndian.Uint64(b), string(append(b, data...))
}

// Get implements session.Records. It always asks the server.
func (s *Store) Get(ctx context.Context, k session.Key) (session.Item, error) {
	return call(ctx, s, func(ctx context.Context, c rueidis.Client) (it session.Item, err error) {
		// The ttl would bound what is cached, which is nothing; it must be positive.
		r := c.DoCache(ctx, c.B().Get().Key(s.recordName(k)).Cache(), time.Hour)
		raw, err := r.AsBytes()
		switch {
		case rueidis.IsRedisNil(err):
			return it, session.ErrNotFound
		case err != nil:
			return it, err
		case len(raw) < revisionBytes || r.CachePXAT() <= 0:
			return it, errors.New("what is there is not a session of ours")
		}
		return session.Item{
			Revision: binary.BigEndian.Uint64(raw),
			Data:     raw[revisionBytes:],
			Expires:  time.UnixMilli(r.CachePXAT()),
		}, nil
	})
}

// Create implements session.Records.
func (s *Store) Create(ctx context.Context, k session.Key, data []byte, ttl time.Duration) (session.Item, error) {
	revision, value := withRevision(data)
	return call(ctx, s, func(ctx context.Context, c rueidis.Client) (it session.Item, err error) {
		done, err := s.scripts.create.Exec(ctx, c, s.names(k), []string{value, ms(ttl), string(k[:])}).AsInt64()
		if err != nil {
			return it, err
		}
		if done == 0 {
			return it, session.ErrExists
		}
		return session.Item{Data: data, Revision: revision, Expires: time.Now().Add(ttl)}, nil
	})
}

// Replace implements session.Records.
func (s *Store) Replace(ctx context.Context, k session.Key, revision uint64, data []byte) (session.Item, error) {
	next, value := withRevision(data)
	old := string(binary.BigEndian.AppendUint64(nil, revision))
	it, err := call(ctx, s, func(ctx context.Context, c rueidis.Client) (it session.Item, err error) {
		left, err := s.scripts.replace.Exec(ctx, c, []string{s.recordName(k)}, []string{old, value}).AsInt64()
		switch {
		case err != nil:
			return it, err
		case left == 0:
			return it, session.ErrNotFound
		case left < 0:
			return it, session.ErrConflict
		}
		return session.Item{Data: data, Revision: next, Expires: time.Now().Add(time.Duration(left-1) * time.Millisecond)}, nil
	})
	if err == nil {
		s.listeners.Fire([]session.Key{k}, false) // Redis tells too, some time after its answer
	}
	return it, err
}

// Extend implements session.Records.
func (s *Store) Extend(ctx context.Context, k session.Key, ttl time.Duration) error {
	_, err := call(ctx, s, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
		done, err := s.scripts.extend.Exec(ctx, c, s.names(k), []string{ms(ttl), string(k[:])}).AsInt64()
		if err == nil && done == 0 {
			err = session.ErrNotFound
		}
		return struct{}{}, err
	})
	return err
}

// Delete implements session.Records.
func (s *Store) Delete(ctx context.Context, k session.Key) error {
	err := s.deleteRecord(ctx, k)
	if err == nil {
		s.graves.add(k, time.Now())
		s.listeners.Fire([]session.Key{k}, false)
	}
	return err
}

func (s *Store) deleteRecord(ctx context.Context, k session.Key) error {
	_, err := call(ctx, s, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
		return struct{}{}, s.scripts.delete.Exec(ctx, c, s.names(k), []string{string(k[:])}).Error()
	})
	return err
}

// Count implements session.Records. It asks the 256 indexes at once, by this
// replica's clock. Sessions that Redis was made to evict are counted until they
// would have expired.
func (s *Store) Count(ctx context.Context) (int, error) {
	return call(ctx, s, func(ctx context.Context, c rueidis.Client) (int, error) {
		after := "(" + strconv.FormatInt(time.Now().UnixMilli(), 10)
		cmds := make(rueidis.Commands, 0, 256)
		for bucket := range 256 {
			cmds = append(cmds, c.B().Zcount().Key(s.indexName(byte(bucket))).Min(after).Max("+inf").Build())
		}
		total := 0
		for _, r := range c.DoMulti(ctx, cmds...) {
			n, err := r.AsInt64()
			if err != nil {
				return 0, err
			}
			total += int(n)
		}
		return total, nil
	})
}

const (
	// headsBuckets is how many indexes are read at once. One of a million sessions
	// has some 4,000 members of 32 bytes.
	headsBuckets = 16
	// headsPage is how many heads are read at once.
	headsPage = 500
)

// Heads implements session.Records. It goes by the indexes and not by SCAN: other
// people's keys cost nothing, a cluster is no special case, and an index is read
// whole, where a cursor would not survive a fail-over. Expired sessions, and those
// that Redis was made to evict, have no head; no clock but that of Redis counts.
func (s *Store) Heads(ctx context.Context, n int, visit func(session.Key, []byte) error) error {
	for bucket := 0; bucket < 256; bucket += headsBuckets {
		keys, err := s.indexed(ctx, bucket)
		if err != nil {
			return err
		}
		for page := range slices.Chunk(keys, headsPage) {
			heads, err := s.heads(ctx, page, n)
			if err != nil {
				return err
			}
			for i, head := range heads {
				if len(head) == 0 {
					continue
				}
				if err := visit(page[i], head); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// indexed is what headsBuckets indexes hold, from bucket on.
func (s *Store) indexed(ctx context.Context, bucket int) ([]session.Key, error) {
	return call(ctx, s, func(ctx context.Context, c rueidis.Client) (keys []session.Key, err error) {
		var cmds rueidis.Commands
		for i := range headsBuckets {
			cmds = append(cmds, c.B().Zrange().Key(s.indexName(byte(bucket+i))).Min("0").Max("-1").Build())
		}
		for _, r := range c.DoMulti(ctx, cmds...) {
			members, err := r.AsStrSlice()
			if err != nil {
				return nil, err
			}
			for _, m := range members {
				if len(m) == len(session.Key{}) {
					keys = append(keys, session.Key([]byte(m)))
				}
			}
		}
		return keys, nil
	})
}

// heads is the first n bytes of each record's data, none where there is no record.
func (s *Store) heads(ctx context.Context, keys []session.Key, n int) ([][]byte, error) {
	return call(ctx, s, func(ctx context.Context, c rueidis.Client) (heads [][]byte, err error) {
		var cmds rueidis.Commands
		for _, k := range keys {
			cmds = append(cmds, c.B().Getrange().Key(s.recordName(k)).Start(revisionBytes).End(int64(revisionBytes+n-1)).Build())
		}
		for _, r := range c.DoMulti(ctx, cmds...) {
			head, err := r.AsBytes()
			if err != nil {
				return nil, err
			}
			heads = append(heads, head)
		}
		return heads, nil
	})
}

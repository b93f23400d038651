package redis

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"keyway/internal/session"
)

func (s *Store) groupName(group session.Key) string { return s.prefix + "g:" + group.String() }

// Join implements session.Groups. Each group has a slot of its own, so one call may
// join some and fail for others.
func (s *Store) Join(ctx context.Context, k session.Key, groups []session.Key, ttl time.Duration) error {
	_, err := call(ctx, s, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
		// All at once, so that it takes one trip. Not ExecMulti, which loads the script
		// into every node each time.
		errs := make([]error, len(groups))
		var joins sync.WaitGroup
		for i, group := range groups {
			joins.Go(func() {
				errs[i] = errDefect // unless Exec returns
				s.contained(func() {
					errs[i] = s.scripts.join.Exec(ctx, c, []string{s.groupName(group)}, []string{ms(ttl), string(k[:])}).Error()
				})
			})
		}
		joins.Wait()
		return struct{}{}, errors.Join(errs...)
	})
	return err
}

// Members implements session.Groups. No clock but that of Redis counts.
func (s *Store) Members(ctx context.Context, group session.Key) ([]session.Key, error) {
	return call(ctx, s, func(ctx context.Context, c rueidis.Client) (keys []session.Key, err error) {
		members, err := s.scripts.members.Exec(ctx, c, []string{s.groupName(group)}, nil).AsStrSlice()
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			if len(m) == len(session.Key{}) {
				keys = append(keys, session.Key([]byte(m)))
			}
		}
		return keys, nil
	})
}

package redis

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

func (s *Store) leaseName(name string) string { return s.prefix + "l:" + name }

// Acquire implements session.Leases.
func (s *Store) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	return call(ctx, s, func(ctx context.Context, c rueidis.Client) (bool, error) {
		err := c.Do(ctx, c.B().Arbitrary("SET").Keys(s.leaseName(name)).Args(owner, "NX", "PX", ms(ttl)).Build()).Error()
		if rueidis.IsRedisNil(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// Renew implements session.Leases.
func (s *Store) Renew(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	return call(ctx, s, func(ctx context.Context, c rueidis.Client) (bool, error) {
		return s.scripts.renew.Exec(ctx, c, []string{s.leaseName(name)}, []string{owner, ms(ttl)}).AsBool()
	})
}

// Release implements session.Leases.
func (s *Store) Release(ctx context.Context, name, owner string) error {
	_, err := call(ctx, s, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
		return struct{}{}, s.scripts.release.Exec(ctx, c, []string{s.leaseName(name)}, []string{owner}).Error()
	})
	return err
}

// Holder implements session.Leases.
func (s *Store) Holder(ctx context.Context, name string) (owner string, held bool, err error) {
	type holder struct {
		owner string
		held  bool
	}
	h, err := call(ctx, s, func(ctx context.Context, c rueidis.Client) (holder, error) {
		owner, err := c.Do(ctx, c.B().Get().Key(s.leaseName(name)).Build()).ToString()
		if rueidis.IsRedisNil(err) {
			return holder{}, nil
		}
		return holder{owner, err == nil}, err
	})
	return h.owner, h.held, err
}

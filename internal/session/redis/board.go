package redis

import (
	"context"

	"github.com/redis/rueidis"
)

// Board keeps small things that all replicas agree on, beside the sessions. What
// is on it does not expire. It is safe for concurrent use.
type Board struct{ store *Store }

// Board is the store's board.
func (s *Store) Board() *Board { return &Board{store: s} }

func (b *Board) key(name string) string { return b.store.prefix + "board:" + name }

// Get returns what is under the name, and nil without an error if there is
// nothing.
func (b *Board) Get(ctx context.Context, name string) ([]byte, error) {
	return call(ctx, b.store, func(ctx context.Context, c rueidis.Client) ([]byte, error) {
		value, err := c.Do(ctx, c.B().Get().Key(b.key(name)).Build()).AsBytes()
		if rueidis.IsRedisNil(err) {
			return nil, nil
		}
		return value, err
	})
}

// PutIfAbsent stores value unless there is something already, and returns what
// is there afterwards. The read after the write sees what won, whoever wrote it,
// because nothing is ever removed from the board.
func (b *Board) PutIfAbsent(ctx context.Context, name string, value []byte) ([]byte, error) {
	return call(ctx, b.store, func(ctx context.Context, c rueidis.Client) ([]byte, error) {
		set := c.B().Set().Key(b.key(name)).Value(rueidis.BinaryString(value)).Nx().Build()
		if err := c.Do(ctx, set).Error(); err != nil && !rueidis.IsRedisNil(err) {
			return nil, err
		}
		return c.Do(ctx, c.B().Get().Key(b.key(name)).Build()).AsBytes()
	})
}

package fleet

import (
	"context"

	"github.com/redis/rueidis"
)

// boardPrefix keeps our names apart from whatever else is in the database.
const boardPrefix = "keyway:ring:"

// RedisBoard is a Board in Redis. Nothing on it expires.
type RedisBoard struct{ client rueidis.Client }

// NewRedisBoard uses client, which stays the caller's to close.
func NewRedisBoard(client rueidis.Client) *RedisBoard { return &RedisBoard{client: client} }

// Get implements Board.
func (b *RedisBoard) Get(ctx context.Context, name string) ([]byte, error) {
	value, err := b.client.Do(ctx, b.client.B().Get().Key(boardPrefix+name).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return value, err
}

// PutIfAbsent implements Board. The read after the write sees what won, whoever
// wrote it, because nothing is ever removed from the board.
func (b *RedisBoard) PutIfAbsent(ctx context.Context, name string, value []byte) ([]byte, error) {
	set := b.client.B().Set().Key(boardPrefix + name).Value(rueidis.BinaryString(value)).Nx().Build()
	if err := b.client.Do(ctx, set).Error(); err != nil && !rueidis.IsRedisNil(err) {
		return nil, err
	}
	return b.client.Do(ctx, b.client.B().Get().Key(boardPrefix+name).Build()).AsBytes()
}

package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// VersionCount is how many live sessions rest on each version of a secret, by id.
// Versions that nothing rests on are not in it.
type VersionCount struct{ Salt, SessionKey, UA map[string]int }

// CountVersions counts what rests on what. Who has seen to it that nothing more is
// written under a version can retire it when its count is 0: what was there all
// the time is counted. A session that comes, goes or is written meanwhile may be
// missed, or be counted twice. It fails with ErrUnavailable, and then says nothing.
func (m *Manager) CountVersions(ctx context.Context) (VersionCount, error) {
	count := VersionCount{Salt: map[string]int{}, SessionKey: map[string]int{}, UA: map[string]int{}}
	err := m.heads(ctx, func(_ Key, h head) error {
		count.Salt[string(h.salt)]++
		count.SessionKey[h.key()]++
		if len(h.ua) > 0 {
			count.UA[string(h.ua)]++
		}
		return nil
	})
	if err != nil {
		return VersionCount{}, err
	}
	return count, nil
}

// heads visits what every live session names. What is no session is passed over.
func (m *Manager) heads(ctx context.Context, visit func(Key, head) error) error {
	var told error
	err := m.store.Heads(ctx, headBytes, func(k Key, data []byte) error {
		h, _, err := parseHead(data)
		if errors.Is(err, ErrEnded) || err == nil && h.key() == "" {
			return nil
		}
		if err == nil {
			err = visit(k, h)
		}
		told = err
		return err
	})
	if err != nil && told == nil {
		return fromStore(err)
	}
	return err
}

// Reseal seals every record anew that is not under the active session key, and says
// how many it did. It neither prolongs nor changes a session. Whoever writes one at
// the same time wins, and has sealed it under what is active where he is. Records
// under a version that is unknown or retired here are left. On an error, which is
// ErrUnavailable, the rest is left too; calling again goes on with it.
func (m *Manager) Reseal(ctx context.Context) (resealed int, err error) {
	active := m.o.Sealer.ActiveVersion()
	return m.each(ctx, func(h head) bool { return h.key() != active }, m.reseal)
}

func (m *Manager) reseal(ctx context.Context, k Key) (bool, error) {
	for range updateTries {
		it, err := m.store.Get(ctx, k)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fromStore(err)
		}
		plain, h, err := m.unsealed(k, it.Data)
		if errors.Is(err, ErrUnavailable) {
			return false, err
		}
		if err != nil || h.key() == m.o.Sealer.ActiveVersion() {
			return false, nil
		}
		_, err = m.store.Replace(ctx, k, it.Revision, m.sealed(k, string(h.salt), string(h.ua), plain))
		switch {
		case errors.Is(err, ErrConflict):
			continue // by somebody who may have an older active version than ours
		case errors.Is(err, ErrNotFound):
			return false, nil
		case err != nil:
			return false, fromStore(err)
		}
		m.shared.cache.drop(k)
		return true, nil
	}
	return false, nil // the next call has another try
}

// EndUnder ends every session whose cookie names this version of the salt, and says
// how many. On an error, which is ErrUnavailable, the rest is left; calling again
// goes on with it.
func (m *Manager) EndUnder(ctx context.Context, saltVersion string) (ended int, err error) {
	return m.each(ctx, func(h head) bool { return string(h.salt) == saltVersion }, func(ctx context.Context, k Key) (bool, error) {
		err := m.endKey(ctx, k)
		return err == nil, err
	})
}

const (
	// sweepers is how many records are worked on at once: enough to hide the
	// store's answers from each other, few enough to leave it to its users.
	sweepers = 8
	// sweepOne bounds the work on one of them.
	sweepOne = 10 * time.Second
)

// one does work on one of them.
func (m *Manager) one(ctx context.Context, k Key, work func(context.Context, Key) (bool, error)) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepOne)
	defer cancel()
	defer func() {
		if panicked := recover(); panicked != nil {
			m.shared.defect(panicked)
			ok, err = false, errDefect
		}
	}()
	return work(ctx, k)
}

// each does work on every live session whose head is wanted, several at once, until
// one fails, and counts those of which work says so.
func (m *Manager) each(ctx context.Context, wanted func(head) bool, work func(context.Context, Key) (bool, error)) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	keys := make(chan Key)
	var did atomic.Int64
	var workers sync.WaitGroup
	for range sweepers {
		workers.Go(func() {
			for k := range keys {
				ok, err := m.one(ctx, k, work)
				if ok {
					did.Add(1)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	err := m.heads(ctx, func(k Key, h head) error {
		if !wanted(h) {
			return nil
		}
		select {
		case keys <- k:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	close(keys)
	workers.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, ErrUnavailable) {
		err = cause
	} else if cause != nil {
		err = fromStore(cause)
	}
	return int(did.Load()), err
}

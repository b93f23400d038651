package session_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
)

// brittle is a store that panics as often as it is told to.
type brittle struct {
	session.Store
	get, replace atomic.Int32
}

func panicked(left *atomic.Int32) {
	if left.Add(-1) >= 0 {
		panic("with a secret in it")
	}
}

func (b *brittle) Get(ctx context.Context, k session.Key) (session.Item, error) {
	panicked(&b.get)
	return b.Store.Get(ctx, k)
}

func (b *brittle) Replace(ctx context.Context, k session.Key, revision uint64, data []byte) (session.Item, error) {
	panicked(&b.replace)
	return b.Store.Replace(ctx, k, revision, data)
}

// told checks that the log tells of a defect, and nothing that a panic says.
func told(t *testing.T, log *bytes.Buffer) {
	t.Helper()
	if text := log.String(); !strings.Contains(text, "met a defect") || strings.Contains(text, "with a secret") {
		t.Errorf("logged %q", text)
	}
}

// on makes a manager whose defects are logged.
func on(t *testing.T, store session.Store) (*session.Manager, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	shared := session.NewShared(store, session.SharedOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(func() { _ = shared.Close(context.Background()) })
	return sessiontest.ManagerOn(t, shared, nil), &log
}

func TestADefectInARefreshEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := on(t, memoryStore(t))
		idp := sessiontest.NewIdP(time.Minute, 0)
		header, s := expired(t, m, idp)
		_, err := m.Fresh(t.Context(), s, func(context.Context, session.Record) (session.Record, error) { panic("with a secret in it") })
		wantErr(t, "whoever waits for it", err, session.ErrUnavailable)
		synctest.Wait()
		told(t, log)
		if _, err := m.Fresh(t.Context(), s, idp.Refresh); !errors.Is(err, session.ErrIdPUnavailable) {
			t.Errorf("at once again: %v", err)
		}
		time.Sleep(15 * time.Second) // the lease is over
		if s, err = m.Fresh(t.Context(), mustFind(t, m, header), idp.Refresh); err != nil || !s.AccessValid(time.Now()) {
			t.Errorf("later: %v", err)
		}
	})
}

// A stream goes on, and is still watched.
func TestADefectInWatchingEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brittle{Store: memoryStore(t)}
		m, log := on(t, store)
		_, s := sessiontest.SignIn(t, m, ada())
		store.get.Store(1)
		stream, stop := m.Watch(t.Context(), s)
		defer stop()
		synctest.Wait()
		told(t, log)
		if stream.Err() != nil {
			t.Fatal("it ended with no reason")
		}
		if err := m.End(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		<-stream.Done()
		wantErr(t, "the stream", context.Cause(stream), session.ErrEnded)
	})
}

func TestADefectInResealingIsAnError(t *testing.T) {
	store := &brittle{Store: memoryStore(t)}
	var log bytes.Buffer
	shared := session.NewShared(store, session.SharedOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(func() { _ = shared.Close(context.Background()) })
	with := func(keys ...string) *session.Manager {
		m, err := session.New(sessiontest.Options(t, shared, sessiontest.Ring(t, "token-hash-salt", "s1"), sessiontest.Ring(t, "session-key", keys...)))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	sessiontest.SignIn(t, with("k1"), ada())
	m := with("k2", "k1")
	store.replace.Store(1)
	if n, err := m.Reseal(t.Context()); n != 0 || !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("%d, %v", n, err)
	}
	told(t, &log)
	if n, err := m.Reseal(t.Context()); n != 1 || err != nil {
		t.Errorf("the next time: %d, %v", n, err)
	}
}

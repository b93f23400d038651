package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"keyway/internal/session"
	"keyway/internal/session/embedded"
	"keyway/internal/session/memory"
)

// memory measures what sessions take: where they rest, and in the cache.
func (b *bench) memory() error {
	n := b.scale.sessions
	b.say("memory of %d sessions …", n)
	k, err := makeKeys()
	if err != nil {
		return err
	}
	rest, cached, err := b.memoryStore(k, n)
	if err != nil {
		return err
	}
	file, err := b.embeddedFile(k, n)
	if err != nil {
		return err
	}
	t := table{
		Title:   fmt.Sprintf("Memory of sessions, measured with %d", n),
		Columns: []column{{"mib_100k", "MiB for 100,000", 1}, {"bytes", "bytes each", 0}},
		Notes: []string{"A record of usual size: access and ID token of 1,000 bytes each, a refresh token of 200.",
			"The cache is bounded to 64 MiB by default; it holds what was used within the last 5 s."},
	}
	add := func(name string, bytes float64) {
		each := bytes / float64(n)
		t.Rows = append(t.Rows, row{name, []float64{each * 100_000 / (1 << 20), each}})
	}
	add("memory store, heap", rest)
	add("cache of sessions in use, heap", cached)
	add("embedded store, file", file)
	if b.redis != nil {
		used, err := b.redisMemory(k, n)
		if err != nil {
			return err
		}
		add("Redis, used_memory", used)
	}
	b.report.Tables = append(b.report.Tables, t)
	return nil
}

// cachedSessions is how many of the sessions are used: the cache forgets them
// after some seconds, so it has to be quick.
const cachedSessions = 20_000

func (b *bench) memoryStore(k keys, n int) (rest, cached float64, err error) {
	store := memory.Open(memory.Options{})
	defer store.Close()
	r, err := b.replica(store, k, options{cache: 4 << 30})
	if err != nil {
		return 0, 0, err
	}
	defer r.close()
	before := heap()
	cookies, err := b.signInMany(r, n)
	if err != nil {
		return 0, 0, err
	}
	after := heap()
	rest = after - before
	for _, c := range cookies { // which a browser keeps, not we
		rest -= 16 + float64((len(c)+15)/16*16)
	}
	used := min(n, cachedSessions)
	for _, c := range cookies[:used] {
		if _, err := r.sessions.Find(b.ctx, []string{c}, home); err != nil {
			return 0, 0, err
		}
	}
	cached = (heap() - after) * float64(n) / float64(used)
	runtime.KeepAlive(cookies)
	return rest, cached, nil
}

func (b *bench) embeddedFile(k keys, n int) (float64, error) {
	dir := b.folder("memory-data")
	store, err := embedded.Open(dir)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	if err := b.fill(store, k, n); err != nil {
		return 0, err
	}
	size := int64(0)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return float64(size), err
}

func (b *bench) redisMemory(k keys, n int) (float64, error) {
	store, err := b.redis.open(b.ctx, "memory:")
	if err != nil {
		return 0, err
	}
	defer store.Close()
	before, err := b.redis.memory()
	if err != nil {
		return 0, err
	}
	if err := b.fill(store, k, n); err != nil {
		return 0, err
	}
	after, err := b.redis.memory()
	return after - before, err
}

func (b *bench) fill(store session.Store, k keys, n int) error {
	r, err := b.replica(store, k, options{})
	if err != nil {
		return err
	}
	defer r.close()
	_, err = b.signInMany(r, n)
	return err
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return float64(ms.HeapAlloc)
}

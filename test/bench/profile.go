package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"keyway/internal/session/memory"
)

// allocRate is how many bytes lie between two allocations that are sampled.
const allocRate = 4096

// profile writes where CPU time goes while one kind of request is served over
// sockets, and beside it (".allocs"), from a second pass, what allocates.
func (b *bench) profile(file, what string) error {
	s, closeAll, err := b.profiled(what)
	if err != nil {
		return err
	}
	defer closeAll()
	f, err := os.Create(filepath.Clean(file))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	_, err = b.overSockets([]subject{s})
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	allocs, err := os.Create(filepath.Clean(file) + ".allocs")
	if err != nil {
		return err
	}
	defer allocs.Close()
	runtime.MemProfileRate = allocRate
	if _, err := b.overSockets([]subject{s}); err != nil {
		return err
	}
	runtime.GC() // the profile is of what the last collection saw
	return errors.Join(pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close())
}

func (b *bench) profiled(what string) (s subject, closeAll func(), err error) {
	target := ""
	switch what {
	case "bare":
		u := &url.URL{Scheme: "http", Host: b.helper.upstream}
		return subject{name: what, handler: bareProxy(u, &buffers{}), request: same(bareRequest())}, func() {}, nil
	case "public":
		target = publicTarget
	case "verify":
		target = "/auth/verify"
	case "proxy":
		target = proxiedTarget
	default:
		return s, nil, fmt.Errorf("-cpuprofile: expected -only verify, proxy, public or bare, found %q", what)
	}
	k, err := makeKeys()
	if err != nil {
		return s, nil, err
	}
	store := memory.Open(memory.Options{})
	r, err := b.replica(store, k, options{upstream: b.helper.upstream})
	if err != nil {
		_ = store.Close()
		return s, nil, err
	}
	closeAll = func() { r.close(); _ = store.Close() }
	cookie, _, err := r.signIn(b.ctx, record("ada"))
	return subject{name: what, handler: r.gateway, wrap: guard, request: same(browserRequest("GET", target, cookie))}, closeAll, err
}

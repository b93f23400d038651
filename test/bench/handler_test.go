package main

import (
	"net/http"
	"testing"

	"keyway/internal/session/memory"
)

// The benchmarks are for profiles of the handler alone:
//
//	go test -run '^$' -bench Verify -cpuprofile cpu.prof -memprofile mem.prof -memprofilerate 512 ./test/bench

func BenchmarkVerify(b *testing.B) { benchmark(b, "/auth/verify") }

func BenchmarkProxied(b *testing.B) { benchmark(b, proxiedTarget) }

func benchmark(b *testing.B, target string) {
	h, err := startHelper(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer h.close()
	own := &bench{ctx: b.Context(), dir: b.TempDir()}
	k, err := makeKeys()
	if err != nil {
		b.Fatal(err)
	}
	store := memory.Open(memory.Options{})
	defer store.Close()
	r, err := own.replica(store, k, options{upstream: h.upstream})
	if err != nil {
		b.Fatal(err)
	}
	defer r.close()
	cookie, _, err := r.signIn(b.Context(), record("ada"))
	if err != nil {
		b.Fatal(err)
	}
	request, w := browserRequest("GET", target, cookie), newWriter()
	b.ReportAllocs()
	for b.Loop() {
		w.reset()
		if r.gateway.ServeHTTP(w, request); w.status != http.StatusOK {
			b.Fatalf("answered %d", w.status)
		}
	}
}

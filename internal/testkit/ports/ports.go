package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gofrs/flock"
)

// Ports are chosen below the range from which the kernel takes those of outgoing
// connections.
const lowest, count = 10000, 20000

// T is the part of a test that is needed here; testing.TB has it.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Reserve answers with the first of n consecutive free ports of 127.0.0.1, which
// nobody else who asks here is given until the test has ended.
func Reserve(t T, n int) int {
	t.Helper()
	first, release, err := Row(n)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(release)
	return first
}

// Row is Reserve outside of a test: the ports are the caller's until release.
func Row(n int) (first int, release func(), err error) {
	for range 1000 {
		first := lowest + rand.IntN(count-n)
		if release, ok := claim(first, n); ok {
			return first, release, nil
		}
	}
	return 0, nil, fmt.Errorf("no %d consecutive free ports", n)
}

// claim holds a lock for each port for as long as it is reserved: the kernel gives
// it back when the process dies.
func claim(first, n int) (release func(), ok bool) {
	dir := filepath.Join(os.TempDir(), "keyway-test-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false
	}
	var held []*flock.Flock
	release = func() {
		for _, l := range held {
			_ = l.Unlock()
		}
	}
	for port := first; port < first+n; port++ {
		l := flock.New(filepath.Join(dir, strconv.Itoa(port)))
		if ok, err := l.TryLock(); err != nil || !ok {
			release()
			return nil, false
		}
		held = append(held, l)
		if !free(port) {
			release()
			return nil, false
		}
	}
	return release, true
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

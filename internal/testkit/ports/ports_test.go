package ports

import (
	"net"
	"strconv"
	"testing"
)

func TestReservedPortsAreNobodyElses(t *testing.T) {
	first := Reserve(t, 4)
	for port := first; port < first+4; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatalf("port %d: %v", port, err)
		}
		l.Close() // as a process that is killed
	}
	if _, ok := claim(first-1, 3); ok {
		t.Error("ports of a test were given to another")
	}
}

func TestPortsAreGivenBack(t *testing.T) {
	var first int
	t.Run("one", func(t *testing.T) { first = Reserve(t, 2) })
	release, ok := claim(first, 2)
	if !ok {
		t.Fatal("ports of a test that has ended are still kept")
	}
	release()
}

func TestWhatListensIsNotFree(t *testing.T) {
	first := Reserve(t, 1)
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if free(first) {
		t.Error("a port at which somebody listens is said to be free")
	}
}

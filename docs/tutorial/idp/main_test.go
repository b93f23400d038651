package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
)

// Whoever starts it beside a demo that still runs is told that, and nothing else.
func TestATakenPort(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var out bytes.Buffer
	err = run(&out, other.Addr().(*net.TCPAddr).Port, "http://localhost:8000")
	if err == nil || !strings.Contains(err.Error(), "is a demo still running") {
		t.Errorf("got %v", err)
	}
	if out.Len() > 0 {
		t.Errorf("it says that it serves: %s", out.String())
	}
}

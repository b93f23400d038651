package logbuffer

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestBufferIsReadWhileItIsWritten(t *testing.T) {
	var b Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { log.Info("one line"); _ = b.String() })
	}
	group.Wait()
	if n := strings.Count(b.String(), "one line"); n != 8 {
		t.Errorf("%d lines", n)
	}
}

package logbuffer

import (
	"strings"
	"sync"

	"keyway/internal/testkit/leakhunt"
)

// Buffer keeps all that is written to it. The zero Buffer is ready. It is safe for
// concurrent use.
type Buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer. A leak hunt looks through what is written.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	leakhunt.Written("log", p)
	return b.text.Write(p)
}

// String is all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Log is where the lines of a chain are kept. It is safe for concurrent use, by
// several processes where they share one, and every call ends within a few
// seconds, whatever ctx says.
type Log interface {
	// Head is the end of the chain; the zero Head when there is none. It is kept
	// apart from the lines: where lines have been taken away at the end, it is still
	// that of the last one that was written, so that what follows shows the gap.
	Head(ctx context.Context) (Head, error)
	// Append adds lines after the head after, whose signature does not matter, and
	// makes next the head. Without lines it only keeps next's signature. It fails
	// with ErrConflict, and adds nothing, when the head is another one. After any
	// other error all of the lines, or the first of them, may or may not have been
	// added.
	Append(ctx context.Context, after Head, lines [][]byte, next Head) error
	// Read returns lines from a seq on, in order: at most most of them and at most
	// MaxRead, and at least one unless there is none. first is the seq of lines[0].
	// Where from is older than what is kept, it begins at the first that is.
	Read(ctx context.Context, from uint64, most int) (first uint64, lines [][]byte, err error)
	// Droppable is the seq up to which, and not including it, Drop(before) would
	// drop: at most before. It is that of the first that is kept when nothing would
	// go. The last line never goes.
	Droppable(ctx context.Context, before uint64) (uint64, error)
	// Drop removes what is older than before, as far as Droppable says.
	Drop(ctx context.Context, before uint64) error
}

// ErrConflict says that the head is not the one that was expected: read it again.
var ErrConflict = errors.New("audit: somebody else has added to the chain")

// Bounds of one call of a Log.
const (
	MaxRead   = 500 // lines
	MaxAppend = 100 // lines
)

// CheckAppend is for those who build a Log: what Append refuses.
func CheckAppend(after Head, lines [][]byte, next Head) error {
	if len(lines) > MaxAppend {
		return fmt.Errorf("audit: expected at most %d lines at once, found %d", MaxAppend, len(lines))
	}
	want := after
	for i, line := range lines {
		if len(line) > MaxLine || SeqOf(line) != after.Seq+uint64(i)+1 || slices.Contains(line, '\n') {
			return fmt.Errorf("audit: expected line %d, of at most %d bytes; found another", after.Seq+uint64(i)+1, MaxLine)
		}
		want = Head{Seq: after.Seq + uint64(i) + 1, Hash: HashLine(line)}
	}
	if !next.Same(want) {
		return errors.New("audit: expected the head that follows from the lines; found another")
	}
	return nil
}

// MaxSeq is the highest number that an entry may have: of 15 digits, which can be
// counted exactly everywhere. What is beyond it is somebody else's.
const MaxSeq = 999_999_999_999_999

// HeadOf is for those who build a Log: the head, from the one that is kept apart and
// from the last line. A line that is beyond the former was added by somebody who
// died before he could say so.
func HeadOf(kept Head, last []byte) Head {
	if kept.Seq > MaxSeq || kept.Seq > 0 && !isHash(kept.Hash) {
		kept = Head{}
	}
	if seq := SeqOf(last); seq > kept.Seq && seq <= MaxSeq {
		return Head{Seq: seq, Hash: HashLine(last)}
	}
	return kept
}

// Memory is a Log for tests, and forgets all with the process.
type Memory struct {
	mu    sync.Mutex
	first uint64
	lines [][]byte
	head  Head
}

// NewMemory is empty.
func NewMemory() *Memory { return &Memory{first: 1} }

var _ Log = (*Memory)(nil)

// Head implements Log.
func (m *Memory) Head(ctx context.Context) (Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head, ctx.Err()
}

// Append implements Log.
func (m *Memory) Append(ctx context.Context, after Head, lines [][]byte, next Head) error {
	if err := CheckAppend(after, lines, next); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if !m.head.Same(after) {
		return ErrConflict
	}
	for _, line := range lines {
		m.lines = append(m.lines, slices.Clone(line))
	}
	m.head = next
	return nil
}

// Read implements Log.
func (m *Memory) Read(ctx context.Context, from uint64, most int) (uint64, [][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from = max(from, m.first)
	if err := ctx.Err(); err != nil || from >= m.first+uint64(len(m.lines)) {
		return from, nil, err
	}
	lines := m.lines[from-m.first:]
	return from, slices.Clone(lines[:min(len(lines), most, MaxRead)]), nil
}

// Droppable implements Log.
func (m *Memory) Droppable(ctx context.Context, before uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.first, min(before, m.head.Seq)), ctx.Err()
}

// Drop implements Log.
func (m *Memory) Drop(ctx context.Context, before uint64) error {
	to, err := m.Droppable(ctx, before)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines, m.first = m.lines[to-m.first:], to
	return nil
}

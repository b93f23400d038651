package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"keyway/internal/rotation"
)

// JournalPrefix begins the names of a [Journal]'s entries.
const JournalPrefix = "journal/"

// maxJournal bounds an entry, in bytes: far above what we write, and far enough
// below MaxValue for what there is to take one more change.
const maxJournal = MaxValue / 2

// Journal keeps the record of rotations on a board, for all replicas to read and
// write. There is no secret in it, and it is not sealed, so who can write the store
// can write it. Rings are not moved by it, but for one thing: that a version which
// only a person can replace was said to be compromised is in here until the next
// is handed in, which then leaves no overlap. It is safe for concurrent use.
type Journal struct {
	board Board

	mu   sync.Mutex
	read map[string]journalEntry // by secret: what was parsed last, not to parse the same again
}

type journalEntry struct {
	content []byte
	history rotation.History
}

// NewJournal keeps it on board.
func NewJournal(board Board) *Journal { return &Journal{board: board, read: map[string]journalEntry{}} }

var _ rotation.Journal = (*Journal)(nil)

// Load implements rotation.Journal.
func (j *Journal) Load(ctx context.Context, secret string) (rotation.History, error) {
	h, _, err := j.load(ctx, secret)
	return h, err
}

func (j *Journal) load(ctx context.Context, secret string) (rotation.History, Revision, error) {
	content, revision, err := j.board.Get(ctx, JournalPrefix+secret)
	if err != nil || revision == "" {
		return rotation.History{}, revision, err
	}
	j.mu.Lock()
	read := j.read[secret]
	j.mu.Unlock()
	if read.content != nil && bytes.Equal(read.content, content) {
		return read.history.Clone(), revision, nil
	}
	var h rotation.History
	if len(content) > maxJournal || json.Unmarshal(content, &h) != nil {
		// It is a record: that it can't be read must not keep anybody from turning a
		// secret. One thing is lost with it that matters, see Journal.
		return rotation.History{}, revision, nil
	}
	j.parsed(secret, content, h)
	return h, revision, nil
}

func (j *Journal) parsed(secret string, content []byte, h rotation.History) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.read[secret] = journalEntry{content, h.Clone()}
}

// Update implements rotation.Journal.
func (j *Journal) Update(ctx context.Context, secret string, change func(*rotation.History) bool) (rotation.History, error) {
	for {
		h, revision, err := j.load(ctx, secret)
		if err != nil {
			return rotation.History{}, err
		}
		if !change(&h) {
			return h, nil
		}
		content, err := json.Marshal(h)
		for err == nil && len(content) > maxJournal && len(h.Rotations) > 1 { // the oldest are last
			h.Rotations = h.Rotations[:len(h.Rotations)/2]
			content, err = json.Marshal(h)
		}
		if err != nil {
			return rotation.History{}, fmt.Errorf("fleet: the journal of %s: %w", secret, err)
		}
		_, err = j.board.CompareAndSet(ctx, JournalPrefix+secret, revision, content)
		if err == nil {
			return h, nil
		}
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return rotation.History{}, fmt.Errorf("fleet: the journal of %s: %w", secret, err)
		}
	}
}

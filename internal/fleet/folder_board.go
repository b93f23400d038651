package fleet

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

const boardPrefix = "entry-"

var (
	_ Board   = (*Folder)(nil)
	_ Watcher = (*Folder)(nil)
)

// Get implements Board.
func (f *Folder) Get(ctx context.Context, name string) (value []byte, revision Revision, err error) {
	err = f.files.Locked(ctx, func() error {
		value, revision, err = f.entry(name)
		return err
	})
	return value, revision, err
}

// CompareAndSet implements Board.
func (f *Folder) CompareAndSet(ctx context.Context, name string, revision Revision, value []byte) (next Revision, err error) {
	if err := CheckEntry(name, revision, value); err != nil {
		return "", err
	}
	err = f.files.Locked(ctx, func() error {
		_, there, err := f.entry(name)
		if err != nil {
			return err
		}
		if there != revision {
			return ErrConflict
		}
		next = NewRevision()
		return f.files.Write(fileName(boardPrefix, name), slices.Concat([]byte(next), []byte("\n"), value))
	})
	if err != nil {
		return "", err
	}
	f.watchers.Tell(name)
	return next, nil
}

// Watch implements Watcher. It hears of what was set through this Folder; what
// other processes set is for a poll.
func (f *Folder) Watch(fn func(name string)) (stop func()) {
	remove := f.watchers.Add(fn)
	return func() { remove() }
}

// entry reads the file of an entry: revision, newline, value.
func (f *Folder) entry(name string) ([]byte, Revision, error) {
	file := fileName(boardPrefix, name)
	content, info, err := f.read(file, MaxValue+RevisionLen+1)
	if err != nil || info == nil {
		return nil, "", err
	}
	if len(content) <= RevisionLen || content[RevisionLen] != '\n' {
		return nil, "", fmt.Errorf("%s: expected a revision and a value, found neither", filepath.Join(f.path, file))
	}
	return content[RevisionLen+1:], Revision(content[:RevisionLen]), nil
}

package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

const (
	lockFile = ".lock"
	bornFile = ".born"
	// patience bounds how long a call waits for others in the folder, each of
	// whom holds it for one synced write.
	patience = 5 * time.Second
	// lockPoll is how often a waiting process looks whether the lock is free.
	lockPoll = 2 * time.Millisecond
)

// Folder is a [Board] and a [Register] in a folder: of one replica, or of several
// processes on one volume (a replica and a sidecar, replicas on a volume that
// all can write). The volume must have locks that hold between those who mount
// it: any local file system, and NFS, but not SMB.
//
// Every file is written whole or not at all, and synced before the call returns:
// a process that is killed or a power failure leaves the entry as it was or as it
// was to be. The folder is 0700, its files are 0600. It is safe for concurrent
// use.
type Folder struct {
	path string
	turn chan struct{}      // one call of this process at a time; the lock is for the others
	step func(string) error // tests: told before each write, and fails it there

	watchers Watchers
}

// OpenFolder makes the folder if it is not there, and refuses one that others
// can enter. From then on it must not vanish: calls fail when it does, rather
// than find nothing.
func OpenFolder(path string) (*Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("fleet folder: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("fleet folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("fleet folder %s: expected a folder, found a file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("fleet folder %s: expected mode 0700, so that nobody but its owner can enter it, found %04o", path, mode)
	}
	for _, name := range []string{lockFile, bornFile} {
		file, err := os.OpenFile(filepath.Join(path, name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("fleet folder: %w", err)
		}
		if err := file.Close(); err != nil {
			return nil, fmt.Errorf("fleet folder: %w", err)
		}
	}
	f := &Folder{path: path, turn: make(chan struct{}, 1), step: func(string) error { return nil }}
	return f, f.sync()
}

// locked runs do while nobody else is in the folder. The lock belongs to an open
// file, so a process that dies lets go of it. Readers take it too: what they
// see has been synced, and can't be undone by a power failure.
func (f *Folder) locked(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return fmt.Errorf("fleet folder %s: waiting for other calls: %w", f.path, ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("fleet folder %s: %w", f.path, err)
	}
	// Without O_CREATE: where the lock is missing the folder is not the one that
	// was opened, but the empty place where a volume was mounted.
	lock := flock.New(filepath.Join(f.path, lockFile), flock.SetFlag(os.O_RDWR))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return fmt.Errorf("fleet folder %s: locking: %w", f.path, err)
	}
	defer lock.Close() //nolint:errcheck // closing lets go, whatever it answers
	return do()
}

// write replaces a file, and returns once a power failure can't take it back:
// the content is synced before the rename, the folder after.
func (f *Folder) write(name string, content ...[]byte) error {
	f.sweep()
	if err := f.step("write " + name); err != nil {
		return err
	}
	path := filepath.Join(f.path, name)
	err := renameio.WriteFile(path, bytes.Join(content, nil), 0o600, renameio.WithTempDir(f.path), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("fleet folder: writing: %w", err)
	}
	if err := f.step("sync " + name); err != nil {
		return err
	}
	return f.sync()
}

// sweep removes what a killed process left half-written: nobody else is writing,
// since we hold the lock.
func (f *Folder) sweep() {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, "."+boardPrefix) || strings.HasPrefix(name, "."+reportPrefix) {
			_ = os.Remove(filepath.Join(f.path, name))
		}
	}
}

func (f *Folder) sync() error {
	dir, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("fleet folder: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("fleet folder %s: syncing: %w", f.path, err)
	}
	return nil
}

// read reads a file whole; nil without an error when it is not there.
func (f *Folder) read(name string, limit int) ([]byte, fs.FileInfo, error) {
	path := filepath.Join(f.path, name)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("fleet folder: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("fleet folder: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("%s: expected a file of mode 0600, so that nobody but its owner can read or write it, found %s", path, mode)
	}
	content, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, nil, fmt.Errorf("fleet folder: reading: %w", err)
	}
	if len(content) > limit {
		return nil, nil, fmt.Errorf("%s: expected at most %d bytes, found more", path, limit)
	}
	return content, info, nil
}

// fileName makes a name that has no slash in it, and none that a file system
// gives a meaning.
func fileName(prefix, name string) string { return prefix + url.PathEscape(name) }

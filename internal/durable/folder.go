package durable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

const (
	// Lock is the name of the file that is locked by who is in the folder.
	Lock = ".lock"
	// lockPoll is how often a waiting process looks whether the lock is free.
	lockPoll = 2 * time.Millisecond
)

// Options say what a folder is for. Name and Patience are needed.
type Options struct {
	// Name is what errors call the folder: "keys folder".
	Name string
	// Setting is where its path comes from, if whoever reads that it can't be made is
	// to look there.
	Setting string
	// Names are how the names of files begin that are written whole. By them it is
	// known what a process left behind that was killed while it wrote one.
	Names []string
	// Patience bounds how long a call waits for others in the folder.
	Patience time.Duration
	// Made are empty files that Open makes, and nobody later. With Lock among them,
	// calls fail once the folder has vanished, or an empty one is in its place, as
	// where a volume is not mounted. Without it, such a folder is a new one.
	Made []string
}

// Folder is an open folder. It is safe for concurrent use, by several processes too.
// What changes a file expects to be called within Locked. So does Read, unless what it
// finds may be what a power failure takes back.
type Folder struct {
	path string
	o    Options
	turn chan struct{}      // one call of this process at a time; the lock is for the others
	step func(string) error // tests
}

// Open makes the folder, with mode 0700, if it is not there. It refuses one that
// others can enter, with a *ModeError.
func Open(path string, o Options) (*Folder, error) {
	where := o.Name
	if o.Setting != "" {
		where += " (" + o.Setting + ")"
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s %s: expected a folder, found a file", o.Name, path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s %w", o.Name, &ModeError{Path: path, Found: info.Mode(), Want: fs.ModeDir | 0o700})
	}
	f := &Folder{path: path, o: o, turn: make(chan struct{}, 1), step: func(string) error { return nil }}
	for _, name := range o.Made {
		file, err := os.OpenFile(filepath.Join(path, name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, f.failed(err)
		}
		if err := file.Close(); err != nil {
			return nil, f.failed(err)
		}
	}
	if len(o.Made) > 0 {
		if err := f.Sync(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// OnStep is for tests: step is told before and after each thing that changes the
// folder, and the change ends there with the error that it returns, as it would if
// the process died. "write X", "sync X" and "wrote X" are those of a write;
// "remove X", "sync X" and "removed X" those of a removal. It is not to be called
// while the folder is in use.
func (f *Folder) OnStep(step func(string) error) { f.step = step }

// Step is for who changes a file in a way of its own: it tells who listens, and
// returns what that wants the change to fail with.
func (f *Folder) Step(what string) error { return f.step(what) }

// Locked runs do while nobody else is in the folder, and waits for that no longer
// than Patience or ctx. The lock belongs to an open file, so a process that dies lets
// go of it. Who reads takes it too: what is seen then has been synced, and can't be
// undone by a power failure.
func (f *Folder) Locked(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, f.o.Patience)
	defer cancel()
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%s %s: waiting for other calls: %w", f.o.Name, f.path, ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", f.o.Name, f.path, err)
	}
	lock := f.lock()
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return fmt.Errorf("%s %s: locking: %w", f.o.Name, f.path, err)
	}
	defer lock.Close() //nolint:errcheck // closing lets go, whatever it answers
	return do()
}

// IfFree is Locked for what need not be done now: when somebody else is in the folder,
// or the lock can't be had, nothing is.
func (f *Folder) IfFree(do func() error) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	default:
		return nil
	}
	lock := f.lock()
	if free, err := lock.TryLock(); err != nil || !free {
		return nil //nolint:nilerr // it need not be done
	}
	defer lock.Close() //nolint:errcheck // closing lets go, whatever it answers
	return do()
}

func (f *Folder) lock() *flock.Flock {
	path := filepath.Join(f.path, Lock)
	if slices.Contains(f.o.Made, Lock) {
		return flock.New(path, flock.SetFlag(os.O_RDWR)) // without O_CREATE
	}
	return flock.New(path, flock.SetPermissions(0o600))
}

// Read reads a file whole, of at most limit bytes. The error is fs.ErrNotExist when it
// is not there, and a *ModeError when others can read or write it, or it is no file.
func (f *Folder) Read(name string, limit int64) ([]byte, fs.FileInfo, error) {
	path := filepath.Join(f.path, name)
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, f.failed(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, f.failed(err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, nil, &ModeError{Path: path, Found: mode, Want: 0o600}
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: reading: %w", f.o.Name, err)
	}
	if int64(len(content)) > limit {
		return nil, nil, fmt.Errorf("%s: expected at most %d bytes, found more", path, limit)
	}
	return content, info, nil
}

// Write replaces a file whole or not at all, with mode 0600, and returns once a power
// failure can't take it back: the content is synced before the rename, the folder
// after.
func (f *Folder) Write(name string, content []byte) error {
	f.Sweep()
	if err := f.step("write " + name); err != nil {
		return err
	}
	path := filepath.Join(f.path, name)
	err := renameio.WriteFile(path, content, 0o600, renameio.WithTempDir(f.path), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("%s: writing: %w", f.o.Name, err)
	}
	return f.settle(name, "wrote ")
}

// Remove removes a file, and reports whether it was there. It returns once a power
// failure can't bring the file back.
func (f *Folder) Remove(name string) (bool, error) {
	path := filepath.Join(f.path, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := f.step("remove " + name); err != nil {
		return false, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, f.failed(err)
	}
	if err := f.settle(name, "removed "); err != nil {
		return false, err
	}
	return true, nil
}

func (f *Folder) settle(name, done string) error {
	if err := f.step("sync " + name); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.step(done + name)
}

// Sweep removes what was left half-written by a process that was killed: nobody else
// is writing, since we hold the lock. A Write does it too.
func (f *Folder) Sweep() {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return
	}
	for _, e := range entries {
		unhidden, hidden := strings.CutPrefix(e.Name(), ".") // as renameio calls them
		if hidden && e.Type().IsRegular() && slices.ContainsFunc(f.o.Names, func(begin string) bool { return strings.HasPrefix(unhidden, begin) }) {
			_ = os.Remove(filepath.Join(f.path, e.Name()))
		}
	}
}

// Sync returns once the names that are in the folder outlast a power failure.
func (f *Folder) Sync() error {
	dir, err := os.Open(f.path)
	if err != nil {
		return f.failed(err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("%s %s: syncing: %w", f.o.Name, f.path, err)
	}
	return nil
}

func (f *Folder) failed(err error) error { return fmt.Errorf("%s: %w", f.o.Name, err) }

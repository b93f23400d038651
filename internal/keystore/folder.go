package keystore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

const (
	lockFile = ".lock"
	// lockPatience bounds how long a start waits for another process in the
	// folder. Making an RSA key takes a few seconds on a slow machine.
	lockPatience = 30 * time.Second
	// lockEvery is how soon one who waits asks again. Most writes take less.
	lockEvery = time.Millisecond
	// maxFile bounds what is read; a manifest of maxVersions is smaller.
	maxFile = 4 << 20
)

// PermissionError says that others could read or change a folder or file.
type PermissionError struct {
	Path        string
	Found, Want fs.FileMode
}

func (e *PermissionError) Error() string {
	return fmt.Sprintf("%s: expected mode %04o, so that nobody but its owner can read or write it, found %04o; mend it with: chmod %o %s",
		e.Path, e.Want, e.Found, e.Want, shellQuote(e.Path))
}

// shellQuote keeps a command that is to be copied safe to paste.
func shellQuote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func checkMode(path string, info fs.FileInfo, want fs.FileMode) error {
	if found := info.Mode().Perm(); found&0o077 != 0 {
		return &PermissionError{Path: path, Found: found, Want: want}
	}
	return nil
}

// folder does the reading and writing. Its methods expect the lock to be held.
type folder struct {
	path string
	// step is told before and after each thing that changes the folder; a test
	// fails it there, as a crash would.
	step func(string) error
}

// openFolder makes the folder if it is not there, and refuses one that others
// can enter.
func openFolder(path string, step func(string) error) (folder, error) {
	if step == nil {
		step = func(string) error { return nil }
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return folder{}, fmt.Errorf("keys folder (BFF_KEYS_DIR): %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return folder{}, fmt.Errorf("keys folder (BFF_KEYS_DIR): %w", err)
	}
	if !info.IsDir() {
		return folder{}, fmt.Errorf("keys folder %s: expected a folder, found a file", path)
	}
	if err := checkMode(path, info, 0o700); err != nil {
		return folder{}, err
	}
	return folder{path: path, step: step}, nil
}

// locked runs do while no other process, and no other Store, is in the folder.
// The lock belongs to an open file, so a process that dies lets go of it.
func (f folder) locked(do func() error) error {
	lock := flock.New(filepath.Join(f.path, lockFile), flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, lockEvery); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("keys folder %s: another process has held %s for %v; if none should, look for it with: fuser -v %s",
				f.path, lockFile, lockPatience, shellQuote(lock.Path()))
		}
		return fmt.Errorf("keys folder %s: locking: %w", f.path, err)
	}
	defer lock.Close() //nolint:errcheck // closing lets go, whatever it answers
	f.sweep()
	return do()
}

// ifFree is locked for what need not be done now: when somebody else is in the
// folder, nothing is.
func (f folder) ifFree(do func() error) error {
	lock := flock.New(filepath.Join(f.path, lockFile), flock.SetPermissions(0o600))
	if free, err := lock.TryLock(); err != nil || !free {
		return nil //nolint:nilerr // it need not be done
	}
	defer lock.Close() //nolint:errcheck // closing lets go, whatever it answers
	return do()
}

// sweep removes what an interrupted write left behind: files that no manifest
// names and nobody else is writing, since we hold the lock.
func (f folder) sweep() {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.Type().IsRegular() && (strings.HasPrefix(name, ".signing-") ||
			strings.HasPrefix(name, ".root-") || strings.HasPrefix(name, ".jwks.json")) {
			_ = os.Remove(filepath.Join(f.path, name))
		}
	}
}

// read reads a file whole. The error is fs.ErrNotExist when it is not there.
func (f folder) read(name string) ([]byte, error) {
	path := filepath.Join(f.path, name)
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a file, found something else (%s)", path, info.Mode())
	}
	if err := checkMode(path, info, 0o600); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s: expected at most %d bytes, found more", path, maxFile)
	}
	return content, nil
}

// write replaces a file whole or not at all, and returns once a power failure
// can't take it back: the content is synced before the rename, the folder after.
func (f folder) write(name string, content []byte) error {
	if err := f.step("before " + name); err != nil {
		return err
	}
	path := filepath.Join(f.path, name)
	err := renameio.WriteFile(path, content, 0o600, renameio.WithTempDir(f.path), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := f.sync(); err != nil {
		return err
	}
	return f.step("after " + name)
}

// remove removes a file, and reports whether it was there. It returns once a power
// failure can't bring the file back.
func (f folder) remove(name string) (bool, error) {
	path := filepath.Join(f.path, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := f.step("before removing " + name); err != nil {
		return false, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := f.sync(); err != nil {
		return false, err
	}
	return true, f.step("after removing " + name)
}

func (f folder) sync() error {
	dir, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("keys folder: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("keys folder %s: syncing: %w", f.path, err)
	}
	return nil
}

// match lists the files between prefix and suffix, newest first, by what is
// between.
func (f folder) match(prefix, suffix string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(escapeGlob(f.path), prefix+"*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("keys folder %s: %w", f.path, err)
	}
	type found struct {
		id string
		at time.Time
	}
	var all []found
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), prefix), suffix)
		all = append(all, found{id, info.ModTime()})
	}
	ids := make([]string, 0, len(all))
	for len(all) > 0 { // few: selection is enough
		newest := 0
		for i := range all {
			if all[i].at.After(all[newest].at) {
				newest = i
			}
		}
		ids = append(ids, all[newest].id)
		all = append(all[:newest], all[newest+1:]...)
	}
	return ids, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

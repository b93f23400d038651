package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keyway/internal/durable"
)

const (
	// lockPatience bounds how long a start waits for another process in the
	// folder. Making an RSA key takes a few seconds on a slow machine.
	lockPatience = 30 * time.Second
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

// mendable has an error about a mode say how it is mended.
func mendable(err error) error {
	loose, ok := errors.AsType[*durable.ModeError](err)
	if !ok {
		return err
	}
	if loose.Found.Type() != loose.Want.Type() {
		return fmt.Errorf("%s: expected a file, found something else (%s)", loose.Path, loose.Found)
	}
	return &PermissionError{Path: loose.Path, Found: loose.Found.Perm(), Want: loose.Want.Perm()}
}

// folder does the reading and writing. Its methods, Write and Remove among them,
// expect the lock to be held.
type folder struct {
	*durable.Folder
	path string
}

// openFolder makes the folder if it is not there, and refuses one that others
// can enter. step, if there is one, is told before and after each thing that changes
// the folder; a test fails it there, as a crash would.
func openFolder(path string, step func(string) error) (folder, error) {
	files, err := durable.Open(path, durable.Options{
		Name: "keys folder", Setting: "BFF_KEYS_DIR", Names: []string{"signing-", "root-", publicFile}, Patience: lockPatience,
	})
	if err != nil {
		return folder{}, mendable(err)
	}
	if step != nil {
		files.OnStep(step)
	}
	return folder{files, path}, nil
}

// locked runs do while no other process, and no other Store, is in the folder.
func (f folder) locked(do func() error) error {
	entered := false
	err := f.Locked(context.Background(), func() error {
		entered = true
		f.Sweep()
		return do()
	})
	if !entered && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("keys folder %s: another process has held %s for %v; if none should, look for it with: fuser -v %s",
			f.path, durable.Lock, lockPatience, shellQuote(filepath.Join(f.path, durable.Lock)))
	}
	return err
}

// read reads a file whole. The error is fs.ErrNotExist when it is not there.
func (f folder) read(name string) ([]byte, error) {
	content, _, err := f.Read(name, maxFile)
	return content, mendable(err)
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

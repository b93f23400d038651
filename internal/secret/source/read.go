package source

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"keyway/internal/secret"
)

// sighting is what one look at one place showed. With why it is trouble, and
// holds no value.
type sighting struct {
	place  string      // path, or "environment NAME"
	file   fs.FileInfo // nil for the environment, and where none could be seen
	found  secret.Found
	why    Why
	detail string
	absent bool // nothing is there
}

func (s sighting) good() bool { return !s.absent && s.why == "" }

// agrees says that s and t saw the same, and no change in between. A torn one
// agrees with none.
func (s sighting) agrees(t sighting) bool {
	return s.place == t.place && s.absent == t.absent && s.why == t.why && s.detail == t.detail &&
		s.why != Torn && sameFile(s.file, t.file) && s.found.Value.Equal(t.found.Value)
}

// sameFile: neither replaced nor written in between.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// reader reads one file after the other into the same memory, and wipes it. It
// is for one goroutine.
type reader struct {
	scratch [secret.MaxFileBytes + 1]byte
}

// read looks at a file. What it holds is not copied when it is one of known.
func (r *reader) read(path string, check func(secret.Value) error, known ...secret.Value) sighting {
	s := sighting{place: path}
	trouble := func(why Why, format string, args ...any) sighting {
		s.why, s.detail = why, fmt.Sprintf(format, args...)
		return s
	}
	failed := func(err error) sighting {
		if errors.Is(err, fs.ErrNotExist) {
			return sighting{place: path, absent: true}
		}
		return trouble(Unreadable, "expected a file that can be read, found: %s", reason(err))
	}
	// Before it is opened: opening a pipe blocks, and opening some devices acts.
	info, err := os.Stat(path)
	if err != nil {
		return failed(err)
	}
	if !info.Mode().IsRegular() {
		return trouble(NotAFile, "expected a file, found a %s", kind(info.Mode()))
	}
	// O_NONBLOCK: if it became a pipe just now, opening it still returns.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return failed(err)
	}
	defer file.Close()
	if s.file, err = file.Stat(); err != nil {
		return failed(err)
	}
	if !s.file.Mode().IsRegular() {
		return trouble(NotAFile, "expected a file, found a %s", kind(s.file.Mode()))
	}
	n, err := io.ReadFull(file, r.scratch[:])
	defer clear(r.scratch[:n])
	switch {
	case err == nil:
		return trouble(TooLarge, "expected at most %d bytes, found more", secret.MaxFileBytes)
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return failed(err)
	}
	after, err := file.Stat()
	if err != nil {
		return failed(err)
	}
	if !sameFile(s.file, after) {
		return trouble(Torn, "expected a file that holds still, found one that is being written")
	}
	content := secret.TrimNewline(r.scratch[:n])
	if len(content) == 0 {
		return trouble(Empty, "expected a secret, found an empty file")
	}
	value, seen := among(known, content)
	if !seen {
		value = secret.NewValue(content)
	}
	if check != nil {
		if err := check(value); err != nil {
			return trouble(Refused, "%s", err)
		}
	}
	s.found = secret.Found{Value: value, Origin: "file " + path, Path: path}
	return s
}

// among finds content among the values, in constant time for each.
func among(values []secret.Value, content []byte) (secret.Value, bool) {
	for _, v := range values {
		if subtle.ConstantTimeCompare(v.Reveal(), content) == 1 {
			return v, true
		}
	}
	return secret.Value{}, false
}

// reason is an error without the path, which is said already.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "folder"
	case mode&fs.ModeNamedPipe != 0:
		return "pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// realFolder is the folder that a file is in when all symlinks are followed;
// empty when that can't be said.
func realFolder(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return filepath.Dir(real)
}

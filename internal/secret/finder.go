package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// MaxFileBytes bounds what is read from a secret's file: keys are small, and a
// path that names a disk by mistake must not fill the memory.
const MaxFileBytes = 64 << 10

// ErrNotFound says that a secret is in none of its places.
var ErrNotFound = errors.New("not found")

// NotFoundError lists the places that were looked at.
type NotFoundError struct {
	Name   string
	Looked []string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s is not set: looked at %s", e.Name, strings.Join(e.Looked, ", "))
}

// Unwrap lets errors.Is(err, ErrNotFound) hold.
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// Found is a value and where it was found, in words for an operator.
type Found struct {
	Value  Value
	Origin string // "environment TOKEN_HASH_SALT", "file /run/secrets/token_hash_salt"
	Path   string // the file, when it was one; what a watcher watches
}

// Finder looks secrets up by name. It holds no state, and is safe for
// concurrent use.
type Finder struct {
	// Env looks up an environment variable, as os.LookupEnv does.
	Env func(name string) (string, bool)
	// Dir is the folder of mounted secrets; empty means /run/secrets.
	Dir string
	// Aliases are further file names in Dir for a secret, by name.
	Aliases map[string][]string
}

// DefaultDir is where container platforms mount secrets.
const DefaultDir = "/run/secrets"

// Find looks for the secret name in the file that NAME_FILE names, in the
// environment, and in the folder, in that order. What is set must work: a file
// that is named and can't be read is an error, not a reason to look further,
// because falling back to an old value in silence is how the wrong secret gets
// used. When nothing is set the error is a *NotFoundError.
func (f Finder) Find(name string) (Found, error) {
	pathVariable := name + "_FILE"
	if path, ok := f.Env(pathVariable); ok && path != "" {
		found, err := readFile(path)
		if err != nil {
			return Found{}, fmt.Errorf("%s: %s names a file that can't be used: %w", name, pathVariable, err)
		}
		return found, nil
	}
	if text, ok := f.Env(name); ok && text != "" {
		return Found{Value: NewValue(TrimNewline([]byte(text))), Origin: "environment " + name}, nil
	}
	looked := []string{pathVariable, "environment " + name}
	for _, path := range f.Paths(name) {
		found, err := readFile(path)
		switch {
		case err == nil:
			return found, nil
		case errors.Is(err, fs.ErrNotExist):
			looked = append(looked, path)
		default:
			return Found{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return Found{}, &NotFoundError{Name: name, Looked: looked}
}

// Read reads a secret from a file that a configuration names.
func (f Finder) Read(path string) (Found, error) { return readFile(path) }

// Paths are the files in the folder that Find looks at for the secret name, in
// that order.
func (f Finder) Paths(name string) []string {
	dir := f.Dir
	if dir == "" {
		dir = DefaultDir
	}
	lower := strings.ToLower(name)
	names := []string{lower}
	if dashed := strings.ReplaceAll(lower, "_", "-"); dashed != lower {
		names = append(names, dashed)
	}
	names = append(names, f.Aliases[name]...)
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = filepath.Join(dir, n)
	}
	return paths
}

// readFile never puts the file's content into an error.
func readFile(path string) (Found, error) {
	file, err := os.Open(path)
	if err != nil {
		return Found{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Found{}, err
	}
	if info.IsDir() {
		return Found{}, fmt.Errorf("%s: expected a file, found a folder", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, MaxFileBytes+1))
	if err != nil {
		return Found{}, err
	}
	if len(content) > MaxFileBytes {
		return Found{}, fmt.Errorf("%s: expected at most %d bytes, found more", path, MaxFileBytes)
	}
	content = TrimNewline(content)
	if len(content) == 0 {
		return Found{}, fmt.Errorf("%s: expected a secret, found an empty file", path)
	}
	return Found{Value: NewValue(content), Origin: "file " + path, Path: path}, nil
}

// TrimNewline drops one trailing newline, which editors and `echo` add, and
// nothing more: other white space may be part of the value.
func TrimNewline(b []byte) []byte {
	if trimmed, ok := bytes.CutSuffix(b, []byte("\r\n")); ok {
		return trimmed
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

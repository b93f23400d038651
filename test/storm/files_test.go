package storm

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// secretFiles is a folder of secrets as Kubernetes mounts one: each file is a
// symlink into ..data, which is a symlink to the folder of the day, and is swapped
// by rename.
type secretFiles struct {
	dir    string
	mu     sync.Mutex
	n      int
	values map[string]string
}

func newSecretFiles(dir string, values map[string]string) (*secretFiles, error) {
	s := &secretFiles{dir: dir, values: map[string]string{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.swap(values); err != nil {
		return nil, err
	}
	for name := range values {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// swap has some files hold other values from one instant on.
func (s *secretFiles) swap(values map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.values, values)
	before := fmt.Sprintf("..%d", s.n)
	s.n++
	day := fmt.Sprintf("..%d", s.n)
	if err := os.Mkdir(filepath.Join(s.dir, day), 0o700); err != nil {
		return err
	}
	for name, value := range s.values {
		if err := os.WriteFile(filepath.Join(s.dir, day, name), []byte(value), 0o600); err != nil {
			return err
		}
	}
	next := filepath.Join(s.dir, "..data_tmp")
	if err := os.Symlink(day, next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(s.dir, "..data")); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(s.dir, before))
}

package cedar

import (
	"os"
	"path/filepath"
	"strings"
)

// WritableByOthers are the folder and the files in it that everybody on the machine can
// write to: whoever can decides who may do what. What can't be looked at is left out.
func WritableByOthers(folder string) (paths []string) {
	loose := func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().Perm()&0o002 != 0
	}
	// Kubernetes mounts ConfigMaps read-only, in folders of mode 0777.
	_, err := os.Stat(filepath.Join(folder, "..data"))
	if err != nil && loose(folder) {
		paths = append(paths, folder)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return paths
	}
	for _, entry := range entries {
		if !isOurs(entry.Name()) {
			continue
		}
		if path := filepath.Join(folder, entry.Name()); loose(path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// isOurs reports whether a file of this name is read.
func isOurs(name string) bool {
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, policySuffix) || name == SchemaFile)
}

package fleet

import (
	"errors"
	"io/fs"
	"net/url"
	"time"

	"keyway/internal/durable"
)

const (
	bornFile = ".born"
	// patience bounds how long a call waits for others in the folder, each of
	// whom holds it for one synced write.
	patience = 5 * time.Second
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
	path  string
	files *durable.Folder

	watchers Watchers
}

// OpenFolder makes the folder if it is not there, and refuses one that others
// can enter. From then on it must not vanish: calls fail when it does, rather
// than find nothing.
func OpenFolder(path string) (*Folder, error) {
	files, err := durable.Open(path, durable.Options{
		Name: "fleet folder", Names: []string{boardPrefix, reportPrefix}, Patience: patience, Made: []string{durable.Lock, bornFile},
	})
	if err != nil {
		return nil, err
	}
	return &Folder{path: path, files: files}, nil
}

// read reads a file whole; nil without an error when it is not there.
func (f *Folder) read(name string, limit int64) ([]byte, fs.FileInfo, error) {
	content, info, err := f.files.Read(name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	return content, info, err
}

// fileName makes a name that has no slash in it, and none that a file system
// gives a meaning.
func fileName(prefix, name string) string { return prefix + url.PathEscape(name) }

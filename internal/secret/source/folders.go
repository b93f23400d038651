package source

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// maxLinks is how many symlinks the kernel follows in one path.
const maxLinks = 40

// names are folders, without symlinks in their paths, and what in them matters.
type names map[string]map[string]bool

func (n names) add(folder, name string) {
	if n[folder] == nil {
		n[folder] = map[string]bool{}
	}
	n[folder][name] = true
}

// trail adds what decides which file a path means: the file in its folder, and
// each symlink on the way. Where the path breaks off, it adds the name that is
// missing. That a folder is removed or renamed is heard in the folder itself.
func (n names) trail(path string) {
	here, rest := string(filepath.Separator), parts(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			here = filepath.Dir(here)
			continue
		}
		next := filepath.Join(here, name)
		info, err := os.Lstat(next)
		if err != nil || len(rest) == 0 || info.Mode()&fs.ModeSymlink != 0 {
			n.add(here, name)
		}
		if err != nil {
			return
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			here = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return
		}
		if filepath.IsAbs(target) {
			here = string(filepath.Separator)
		}
		rest = append(parts(target), rest...)
	}
}

func parts(path string) []string {
	var all []string
	for _, part := range strings.Split(filepath.ToSlash(path), "/") {
		if part != "" && part != "." {
			all = append(all, part)
		}
	}
	return all
}

// notifier hears of changes in folders. Without one, all methods do nothing and
// nothing is heard. It is for one goroutine.
type notifier struct {
	watcher *fsnotify.Watcher
	log     *slog.Logger
	armed   map[string]fs.FileInfo
	refused map[string]bool // said already
	names   names
}

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log, armed: map[string]fs.FileInfo{}, refused: map[string]bool{}}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("folders of secrets can't be watched: a change is seen at the next poll only", "error", err)
		return n
	}
	n.watcher = watcher
	return n
}

func (n *notifier) events() <-chan fsnotify.Event {
	if n.watcher == nil {
		return nil
	}
	return n.watcher.Events
}

func (n *notifier) errors() <-chan error {
	if n.watcher == nil {
		return nil
	}
	return n.watcher.Errors
}

func (n *notifier) close() {
	if n.watcher != nil {
		_ = n.watcher.Close()
	}
}

// matters says whether an event is about something on a trail. Other files in
// the same folders, /tmp say, may change as often as they like.
func (n *notifier) matters(e fsnotify.Event) bool {
	return n.names[filepath.Dir(e.Name)][filepath.Base(e.Name)] || n.names[e.Name] != nil
}

// arm watches the folders in want and no others, and says whether something may
// have happened unheard: other folders are watched than before, a watch is new,
// or one is lost. A trail is of a moment. A folder on it that is gone when its
// watch is to be placed is the one to look for again: with it went its watch,
// and what that had heard and not yet told, so that no event brings anybody back
// to it. That the folders wanted are those of the last time proves nothing.
func (n *notifier) arm(want names) (changed bool) {
	if n.watcher == nil {
		return false
	}
	listed := map[string]bool{}
	for _, folder := range n.watcher.WatchList() {
		listed[folder] = true
	}
	for folder := range n.armed {
		if want[folder] == nil {
			_ = n.watcher.Remove(folder) // it may be gone, and its watch with it
			delete(n.armed, folder)
		}
	}
	for folder := range want {
		info, err := os.Stat(folder)
		before := n.armed[folder]
		if err == nil && before != nil && listed[folder] && os.SameFile(before, info) {
			continue
		}
		if listed[folder] {
			_ = n.watcher.Remove(folder) // another folder of this name
		}
		delete(n.armed, folder)
		changed = changed || before != nil
		if err == nil {
			err = n.watcher.Add(folder)
		}
		if err != nil {
			if vanished(err) {
				changed = true
			} else if !n.refused[folder] {
				n.refused[folder] = true
				n.log.Warn("a folder of secrets can't be watched: a change in it is seen at the next poll only", "folder", folder, "error", reason(err))
			}
			continue
		}
		n.armed[folder] = info
		changed = true
	}
	changed = changed || !maps.EqualFunc(n.names, want, maps.Equal[map[string]bool, map[string]bool])
	n.names = want
	return changed
}

// vanished says that a folder was taken away, which is over at the next look,
// as the trail is another one then. Other errors stay, and polling is left.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

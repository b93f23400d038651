package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"keyway/internal/durable"
)

const (
	folderHead = "head.json"
	// patience bounds how long a call waits for others in the folder.
	patience = 5 * time.Second
)

// FolderOptions are the choices of a Folder.
type FolderOptions struct {
	// SegmentBytes and SegmentAge are when the next file is begun: what is dropped by
	// retention is whole files. 1 MiB and 30 days if 0.
	SegmentBytes int64
	SegmentAge   time.Duration
}

// Folder is a Log in a folder: a file of lines for each stretch of the chain,
// named by the number of its first entry, and head.json. Several processes may have
// it open, on a volume whose locks hold between those who mount it.
//
// A line that was added is on the disk, for a kill or a power failure not to take
// back. Half a line that a process left when it was killed is removed with the next
// that is added; a whole one never is. The folder is 0700, its files are 0600.
type Folder struct {
	path  string
	o     FolderOptions
	files *durable.Folder
}

var _ Log = (*Folder)(nil)

// OpenFolder makes the folder if it is not there, and refuses one that others can
// enter.
func OpenFolder(path string, o FolderOptions) (*Folder, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 1 << 20
	}
	if o.SegmentAge <= 0 {
		o.SegmentAge = 30 * 24 * time.Hour
	}
	files, err := durable.Open(path, durable.Options{
		Name: "audit folder", Names: []string{folderHead}, Patience: patience, Made: []string{durable.Lock},
	})
	if err != nil {
		return nil, err
	}
	return &Folder{path: path, o: o, files: files}, nil
}

// Head implements Log.
func (f *Folder) Head(ctx context.Context) (head Head, err error) {
	err = f.files.Locked(ctx, func() error {
		head, _, err = f.end()
		return err
	})
	return head, err
}

// Append implements Log.
func (f *Folder) Append(ctx context.Context, after Head, lines [][]byte, next Head) error {
	if err := CheckAppend(after, lines, next); err != nil {
		return err
	}
	return f.files.Locked(ctx, func() error {
		head, last, err := f.end()
		if err != nil {
			return err
		}
		if !head.Same(after) {
			return ErrConflict
		}
		if len(lines) > 0 {
			if err := f.add(last, lines); err != nil {
				return err
			}
		}
		return f.writeHead(next)
	})
}

// add puts lines into the last file, or begins the next one.
func (f *Folder) add(last segment, lines [][]byte) error {
	first := SeqOf(lines[0])
	content := append(bytes.Join(lines, []byte("\n")), '\n')
	begin := last.name == "" || last.next != first || last.size > 0 && last.size+int64(len(content)) > f.o.SegmentBytes ||
		last.size > 0 && !last.began.IsZero() && peek(lines[0]).At.Sub(last.began) > f.o.SegmentAge
	if begin {
		if last.torn { // see below
			if err := os.Truncate(filepath.Join(f.path, last.name), last.size); err != nil {
				return fmt.Errorf("audit folder: %w", err)
			}
		}
		last = segment{name: segmentName(first)}
	}
	if err := f.files.Step("write " + last.name); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(f.path, last.name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("audit folder: %w", err)
	}
	defer file.Close()
	// What is behind the last whole line is what was left of one by a process that
	// was killed. Nobody was told that it is there.
	if err := file.Truncate(last.size); err != nil {
		return fmt.Errorf("audit folder: %w", err)
	}
	_, err = file.WriteAt(content, last.size)
	if err == nil {
		err = f.files.Step("sync " + last.name)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil && begin {
		err = f.files.Sync()
	}
	if err != nil {
		_ = file.Truncate(last.size) // all or nothing, if it can be had
		return fmt.Errorf("audit folder: writing: %w", err)
	}
	return nil
}

func (f *Folder) writeHead(head Head) error {
	content, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("audit folder: %w", err)
	}
	return f.files.Write(folderHead, append(content, '\n'))
}

// Read implements Log.
func (f *Folder) Read(ctx context.Context, from uint64, most int) (first uint64, lines [][]byte, err error) {
	first, most = from, min(most, MaxRead)
	err = f.files.Locked(ctx, func() error {
		names, err := f.segments()
		if err != nil {
			return err
		}
		for i, name := range names {
			if i+1 < len(names) && firstOf(names[i+1]) <= from {
				continue
			}
			s, err := f.load(name)
			if err != nil {
				return err
			}
			if s.torn && i+1 < len(names) {
				s.lines = append(s.lines, s.rest) // nobody may have torn that; it is shown
			}
			// By the numbers that lines say they have, not by their place: where one has been
			// taken away, nothing else seems to be missing.
			seq := firstOf(name) - 1
			for _, line := range s.lines {
				if seq++; SeqOf(line) > 0 {
					seq = SeqOf(line)
				}
				if seq < from {
					continue
				}
				if len(lines) == most {
					return nil
				}
				if len(lines) == 0 {
					first = seq
				}
				lines = append(lines, line)
			}
		}
		return nil
	})
	return first, lines, err
}

// Droppable implements Log: whole files only.
func (f *Folder) Droppable(ctx context.Context, before uint64) (seq uint64, err error) {
	err = f.files.Locked(ctx, func() error {
		seq, _, err = f.droppable(before)
		return err
	})
	return seq, err
}

func (f *Folder) droppable(before uint64) (seq uint64, names []string, err error) {
	all, err := f.segments()
	if err != nil || len(all) == 0 {
		return 1, nil, err
	}
	n := 0
	for n+1 < len(all) && firstOf(all[n+1]) <= before {
		n++
	}
	// A file without a line has nothing that could be kept.
	if n == len(all)-1 {
		if last, err := f.load(all[n]); err != nil || len(last.lines) == 0 {
			n = max(0, n-1)
		}
	}
	return firstOf(all[n]), all[:n], nil
}

// Drop implements Log.
func (f *Folder) Drop(ctx context.Context, before uint64) error {
	return f.files.Locked(ctx, func() error {
		_, names, err := f.droppable(before)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names { // the oldest first, so that what is left has no gap
			if err := f.files.Step("drop " + name); err != nil {
				return err
			}
			if err := os.Remove(filepath.Join(f.path, name)); err != nil {
				return fmt.Errorf("audit folder: %w", err)
			}
		}
		return f.files.Sync()
	})
}

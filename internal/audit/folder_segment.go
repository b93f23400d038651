package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// end is the head, and the file that the next line goes to.
func (f *Folder) end() (Head, segment, error) {
	var kept Head
	content, err := f.read(folderHead)
	if err == nil {
		err = json.Unmarshal(content, &kept)
		if err != nil || kept.Seq > 0 && !isHash(kept.Hash) {
			return Head{}, segment{}, fmt.Errorf("%s: expected the head of a chain, found something else; "+
				"remove the file to go on from the last entry", filepath.Join(f.path, folderHead))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Head{}, segment{}, err
	}
	names, err := f.segments()
	if err != nil || len(names) == 0 {
		return kept, segment{}, err
	}
	// A file that was begun, and has no whole line yet, says nothing of the end.
	var last segment
	for _, name := range slices.Backward(names) {
		s, err := f.load(name)
		if err != nil {
			return Head{}, segment{}, err
		}
		if last.name == "" {
			last = s
		}
		if len(s.lines) > 0 {
			head := HeadOf(kept, s.lines[len(s.lines)-1])
			if last.name == s.name && s.torn && head.Seq >= s.next {
				// The head is of the line that is torn now: that was no kill of ours. It stays
				// as it is, for a check to find.
				last = segment{}
			}
			return head, last, nil
		}
	}
	if last.next <= kept.Seq {
		last = segment{}
	}
	return kept, last, nil
}

// segment is one file of lines.
type segment struct {
	name  string
	lines [][]byte  // whole ones
	rest  []byte    // what follows them
	size  int64     // of the whole ones, in bytes
	torn  bool      // something follows them
	next  uint64    // the number of the line that would follow
	began time.Time // when the first one happened
}

func segmentName(first uint64) string { return fmt.Sprintf("chain-%020d.jsonl", first) }

func firstOf(name string) uint64 {
	var first uint64
	if n, err := fmt.Sscanf(name, "chain-%020d.jsonl", &first); n != 1 || err != nil || segmentName(first) != name {
		return 0
	}
	return first
}

// segments are the names of the files, the oldest first.
func (f *Folder) segments() ([]string, error) {
	entries, err := os.ReadDir(f.path) // sorted
	if err != nil {
		return nil, fmt.Errorf("audit folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		if firstOf(e.Name()) > 0 {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (f *Folder) load(name string) (segment, error) {
	content, err := f.read(name)
	if err != nil {
		return segment{}, err
	}
	s := segment{name: name, next: firstOf(name)}
	for {
		line, rest, whole := bytes.Cut(content, []byte("\n"))
		if !whole {
			s.torn, s.rest = len(content) > 0, content
			return s, nil
		}
		if len(s.lines) == 0 {
			s.began = peek(line).At
		}
		s.lines = append(s.lines, line)
		s.size += int64(len(line)) + 1
		if seq := SeqOf(line); seq > 0 {
			s.next = seq + 1
		} else {
			s.next++
		}
		content = rest
	}
}

// read refuses what others can read or write.
func (f *Folder) read(name string) ([]byte, error) {
	content, _, err := f.files.Read(name, 2*f.o.SegmentBytes+MaxAppend*(MaxLine+1))
	return content, err
}

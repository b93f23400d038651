package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keyway/internal/durable"
)

const (
	reportPrefix = "replica-"
	// maxReport is far above what a replica has to say of its secrets.
	maxReport = 1 << 20
)

var _ Register = (*Folder)(nil)

// fileReport is the file of a replica. When it was written is the file's own
// time, which the file system gave it.
type fileReport struct {
	Live   int64  `json:"live_ms"`
	Keep   int64  `json:"keep_ms"`
	Report []byte `json:"report"`
}

// Put implements Register.
func (f *Folder) Put(ctx context.Context, id string, report []byte, live, keep time.Duration) (count int, err error) {
	content, err := json.Marshal(fileReport{live.Milliseconds(), keep.Milliseconds(), report})
	if err != nil {
		return 0, fmt.Errorf("fleet folder: %w", err)
	}
	err = f.files.Locked(ctx, func() error {
		if err := f.files.Write(fileName(reportPrefix, id), content); err != nil {
			return err
		}
		listing, err := f.listing(true)
		for _, e := range listing.Entries {
			if listing.Now.Before(e.Until) {
				count++
			}
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return count, nil
}

// List implements Register.
func (f *Folder) List(ctx context.Context) (listing Listing, err error) {
	err = f.files.Locked(ctx, func() error {
		listing, err = f.listing(false)
		return err
	})
	return listing, err
}

// listing reads all reports, and removes those that are to be forgotten if asked
// to.
func (f *Folder) listing(forget bool) (Listing, error) {
	now, err := f.now()
	if err != nil {
		return Listing{}, err
	}
	names, err := os.ReadDir(f.path)
	if err != nil {
		return Listing{}, fmt.Errorf("fleet folder: %w", err)
	}
	listing := Listing{Now: now}
	for _, n := range names {
		escaped, ok := strings.CutPrefix(n.Name(), reportPrefix)
		if !ok {
			continue
		}
		e, keep, err := f.report(n.Name(), escaped)
		if err != nil {
			return Listing{}, err
		}
		if forget && !now.Before(e.Until.Add(keep)) {
			if err := os.Remove(filepath.Join(f.path, n.Name())); err != nil {
				return Listing{}, fmt.Errorf("fleet folder: %w", err)
			}
			continue
		}
		listing.Entries = append(listing.Entries, e)
	}
	if len(listing.Entries) > 0 {
		born, err := os.Stat(filepath.Join(f.path, bornFile))
		if err != nil {
			return Listing{}, fmt.Errorf("fleet folder: %w", err)
		}
		listing.Since = born.ModTime()
	}
	return listing, nil
}

func (f *Folder) report(name, escaped string) (Entry, time.Duration, error) {
	content, info, err := f.read(name, maxReport)
	if err != nil {
		return Entry{}, 0, err
	}
	var r fileReport
	id, unescapeErr := url.PathUnescape(escaped)
	if info == nil || unescapeErr != nil || json.Unmarshal(content, &r) != nil {
		return Entry{}, 0, fmt.Errorf("%s: expected the report of a replica, found something else", filepath.Join(f.path, name))
	}
	seen := info.ModTime()
	return Entry{
		ID: id, Seen: seen, Report: r.Report,
		Until: seen.Add(time.Duration(r.Live) * time.Millisecond),
	}, time.Duration(r.Keep) * time.Millisecond, nil
}

// now is the file system's time: that of the server, where the folder is on one.
// It is what a write gives a file, here the lock, which we hold.
func (f *Folder) now() (time.Time, error) {
	file, err := os.OpenFile(filepath.Join(f.path, durable.Lock), os.O_RDWR, 0)
	if err != nil {
		return time.Time{}, fmt.Errorf("fleet folder: %w", err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("\n"), 0); err != nil {
		return time.Time{}, fmt.Errorf("fleet folder: asking for the time: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return time.Time{}, fmt.Errorf("fleet folder: asking for the time: %w", err)
	}
	return info.ModTime(), nil
}

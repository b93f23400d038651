package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	maxNoteChars = 280     // characters of one note's text
	maxNoteBody  = 4 << 10 // bytes of a request that creates one
)

// Note is one note of a user, as GET and POST /notes answer it.
type Note struct {
	ID        string    `json:"id"`
	Text      string    `json:"text"`
	CreatedAt time.Time `json:"created_at"`
}

// notebook keeps the notes of all users. Both dimensions are bounded, so that a
// demo left running can't grow.
type notebook struct {
	mu                 sync.Mutex
	byUser             map[string][]Note // oldest first, never empty
	last               uint64
	maxUsers, maxNotes int
}

func newNotebook(maxUsers, maxNotes int) *notebook {
	return &notebook{byUser: map[string][]Note{}, maxUsers: maxUsers, maxNotes: maxNotes}
}

func (b *notebook) add(user, text string, now time.Time) Note {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	n := Note{ID: strconv.FormatUint(b.last, 10), Text: text, CreatedAt: now.UTC()}
	notes, known := b.byUser[user]
	if !known && len(b.byUser) >= b.maxUsers {
		b.forgetOldestUser()
	}
	if len(notes) >= b.maxNotes {
		notes = slices.Delete(notes, 0, len(notes)-b.maxNotes+1)
	}
	b.byUser[user] = append(notes, n)
	return n
}

func (b *notebook) forgetOldestUser() {
	var oldest string
	var at time.Time
	for user, notes := range b.byUser {
		if t := notes[len(notes)-1].CreatedAt; oldest == "" || t.Before(at) {
			oldest, at = user, t
		}
	}
	delete(b.byUser, oldest)
}

// of returns the notes of a user, oldest first; never nil, so that it marshals
// as an array.
func (b *notebook) of(user string) []Note {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Note{}, b.byUser[user]...)
}

func (s *server) listNotes(w http.ResponseWriter, _ *http.Request, who Subject) {
	writeJSON(w, http.StatusOK, s.notes.of(who.ID))
}

func (s *server) createNote(w http.ResponseWriter, r *http.Request, who Subject) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		w.Header().Set("Accept", "application/json") // RFC 9110 section 15.5.16
		writeProblem(w, r, problem{http.StatusUnsupportedMediaType, "unsupported_media_type",
			"Send the note as application/json."})
		return
	}
	text, refused := readNote(http.MaxBytesReader(w, r.Body, maxNoteBody))
	if refused != nil {
		writeProblem(w, r, *refused)
		return
	}
	writeJSON(w, http.StatusCreated, s.notes.add(who.ID, text, s.opts.Now()))
}

// readNote reads {"text": "…"}, and nothing beside it.
func readNote(body io.Reader) (text string, refused *problem) {
	var in struct {
		Text *string `json:"text"`
	}
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(&in)
	if err == nil {
		// Nothing may follow the object.
		if _, err = d.Token(); err == nil {
			in.Text = nil
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "", &problem{http.StatusRequestEntityTooLarge, "too_large",
			fmt.Sprintf("A request to create a note has at most %d bytes.", maxNoteBody)}
	}
	if err != nil || in.Text == nil {
		return "", &problem{http.StatusBadRequest, "invalid_note", `Expected one JSON object with a string: {"text": "…"}.`}
	}
	text = strings.TrimSpace(*in.Text)
	if n := utf8.RuneCountInString(text); n == 0 || n > maxNoteChars {
		return "", &problem{http.StatusBadRequest, "invalid_note",
			fmt.Sprintf("A note has 1 to %d characters; this one has %d.", maxNoteChars, n)}
	}
	return text, nil
}

// surveyed is a note as a machine sees it: that it exists, not what it says.
type surveyed struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	Characters int       `json:"characters"`
}

// surveyNotes is for machines: it answers with every note there is, but without
// words or authors, which are for their users alone.
func (s *server) surveyNotes(w http.ResponseWriter, _ *http.Request, who Subject) {
	writeJSON(w, http.StatusOK, struct {
		Caller string     `json:"caller"`
		Notes  []surveyed `json:"notes"`
	}{who.ID, s.notes.survey()})
}

func (b *notebook) survey() []surveyed {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := []surveyed{}
	for _, notes := range b.byUser {
		for _, n := range notes {
			all = append(all, surveyed{n.ID, n.CreatedAt, utf8.RuneCountInString(n.Text)})
		}
	}
	slices.SortFunc(all, func(x, y surveyed) int { return x.CreatedAt.Compare(y.CreatedAt) })
	return all
}

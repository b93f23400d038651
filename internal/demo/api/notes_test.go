package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/api"
)

func post(h http.Handler, token, text string) int {
	return do(h, request("POST", "/notes", fmt.Sprintf(`{"text":%q}`, text), as(token))).Code
}

func texts(notes []api.Note) string {
	var all []string
	for _, n := range notes {
		all = append(all, n.Text)
	}
	return strings.Join(all, ",")
}

func TestNotesBelongToTheirUser(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	h := newAPI(api.Options{Now: func() time.Time { return at }})

	if got := do(h, request("GET", "/notes", "")).Body.String(); got != "[]\n" {
		t.Errorf("no notes yet, got %s", got)
	}
	w := do(h, request("POST", "/notes", `{"text":"  first  "}`))
	if n := decode[api.Note](t, w); w.Code != 201 || n.Text != "first" || n.ID == "" || !n.CreatedAt.Equal(at) {
		t.Errorf("status %d, note %+v", w.Code, n)
	}
	post(h, graceToken, "hers")
	post(h, adaToken, "second")

	if got := texts(decode[[]api.Note](t, do(h, request("GET", "/notes", "")))); got != "first,second" {
		t.Errorf("Ada sees %q", got)
	}
	if got := texts(decode[[]api.Note](t, do(h, request("GET", "/notes", "", as(graceToken))))); got != "hers" {
		t.Errorf("Grace sees %q", got)
	}
}

func TestMachineSeesNotesButNotWords(t *testing.T) {
	h := newAPI(api.Options{})
	post(h, adaToken, "a secret thought")
	post(h, graceToken, "hers")
	w := do(h, request("GET", "/m2m/notes", "", as(machineToken)))
	got := decode[struct {
		Caller string
		Notes  []struct{ Characters int }
	}](t, w)
	if got.Caller != "demo-machine" || len(got.Notes) != 2 || got.Notes[0].Characters != 16 {
		t.Errorf("got %+v", got)
	}
	for _, word := range []string{"secret", "hers", "ada", "grace"} {
		if strings.Contains(w.Body.String(), word) {
			t.Errorf("%q reached the machine: %s", word, w.Body)
		}
	}
}

func TestBadNotesAreRefused(t *testing.T) {
	h := newAPI(api.Options{})
	for name, c := range map[string]struct {
		body, contentType string
		status            int
		code              string
	}{
		"form":           {`text=x`, "application/x-www-form-urlencoded", 415, "unsupported_media_type"},
		"text":           {`{"text":"x"}`, "text/plain", 415, "unsupported_media_type"},
		"no type":        {`{"text":"x"}`, "", 415, "unsupported_media_type"},
		"bad type":       {`{"text":"x"}`, ";;", 415, "unsupported_media_type"},
		"nothing":        {``, "application/json", 400, "invalid_note"},
		"not JSON":       {`text`, "application/json", 400, "invalid_note"},
		"truncated":      {`{"text":"x"`, "application/json", 400, "invalid_note"},
		"array":          {`["x"]`, "application/json", 400, "invalid_note"},
		"number":         {`{"text":1}`, "application/json", 400, "invalid_note"},
		"null":           {`{"text":null}`, "application/json", 400, "invalid_note"},
		"no text":        {`{}`, "application/json", 400, "invalid_note"},
		"other key":      {`{"text":"x","owner":"grace"}`, "application/json", 400, "invalid_note"},
		"two values":     {`{"text":"x"}{"text":"y"}`, "application/json", 400, "invalid_note"},
		"blank":          {`{"text":" \n "}`, "application/json", 400, "invalid_note"},
		"281 characters": {`{"text":"` + strings.Repeat("ä", 281) + `"}`, "application/json", 400, "invalid_note"},
		"large":          {`{"text":"` + strings.Repeat("x", 5000) + `"}`, "application/json", 413, "too_large"},
		"large tail":     {`{"text":"x"}` + strings.Repeat(" ", 5000), "application/json", 413, "too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, do(h, request("POST", "/notes", c.body, header("Content-Type", c.contentType))), c.status, c.code)
		})
	}
	if got := do(h, request("GET", "/notes", "")).Body.String(); got != "[]\n" {
		t.Errorf("a refused note was kept: %s", got)
	}
	longest := strings.Repeat("ä", 280)
	if w := do(h, request("POST", "/notes", `{"text":"`+longest+`"}`, header("Content-Type", "application/json; charset=utf-8"))); w.Code != 201 {
		t.Errorf("280 characters: %d %s", w.Code, w.Body)
	}
}

func TestNotesAreBounded(t *testing.T) {
	clock := time.Unix(0, 0)
	h := newAPI(api.Options{MaxNotes: 3, MaxUsers: 2, Now: func() time.Time { clock = clock.Add(time.Second); return clock }})
	for _, text := range []string{"1", "2", "3", "4"} {
		post(h, adaToken, text)
	}
	if got := texts(decode[[]api.Note](t, do(h, request("GET", "/notes", "")))); got != "2,3,4" {
		t.Errorf("the oldest should make room: %q", got)
	}
	post(h, graceToken, "hers")
	post(h, adaToken, "5")
	post(h, machineToken, "its") // a third user: Grace wrote longest ago
	if got := texts(decode[[]api.Note](t, do(h, request("GET", "/notes", "", as(graceToken))))); got != "" {
		t.Errorf("Grace still has %q", got)
	}
	if got := texts(decode[[]api.Note](t, do(h, request("GET", "/notes", "")))); got != "3,4,5" {
		t.Errorf("Ada has %q", got)
	}
}

func TestNotesTogether(t *testing.T) {
	h := newAPI(api.Options{MaxNotes: 10})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			post(h, adaToken, "x")
			do(h, request("GET", "/notes", ""))
			do(h, request("GET", "/m2m/notes", "", as(machineToken)))
		})
	}
	wg.Wait()
	if got := len(decode[[]api.Note](t, do(h, request("GET", "/notes", "")))); got != 10 {
		t.Errorf("%d notes", got)
	}
}

func FuzzCreateNote(f *testing.F) {
	f.Add(`{"text":"x"}`)
	f.Add(`{"text":"x"}{`)
	f.Add(`{"text":"\ud800","text":null}`)
	h := newAPI(api.Options{MaxNotes: 2})
	f.Fuzz(func(t *testing.T, body string) {
		w := do(h, request("POST", "/notes", body, header("Content-Type", "application/json")))
		switch w.Code {
		case 201:
			if n := decode[api.Note](t, w); n.Text == "" || len(n.Text) > 4*280 {
				t.Errorf("kept %q", n.Text)
			}
		case 400, 413:
			decode[problemDoc](t, w)
		default:
			t.Errorf("status %d", w.Code)
		}
	})
}

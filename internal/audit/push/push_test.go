package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/audit"
	"keyway/internal/audit/audittest"
	"keyway/internal/secret"
)

// receiver is one as RFC 8935 has it: it checks each token by our published keys.
type receiver struct {
	*httptest.Server
	t      *testing.T
	keys   jose.JSONWebKeySet
	bearer string
	answer func(w http.ResponseWriter, id string) // nil: 202
	got    []claims
}

func listen(t *testing.T) (*receiver, *Sink) {
	t.Helper()
	key := audittest.NewKey(t)
	r := &receiver{t: t, bearer: "Bearer receiver-token"}
	if err := json.Unmarshal(key.Set, &r.keys); err != nil {
		t.Fatal(err)
	}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	u, err := url.Parse(r.URL + "/events?from=keyway")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{
		URL: u, Issuer: "https://app.example", Audience: "siem", Timeout: 300 * time.Millisecond,
		Token: func() (secret.Value, error) { return secret.NewValue([]byte("receiver-token")), nil },
		Sign:  func(c any, typ string) (string, error) { return key.Sign(c, typ, nil) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	if q.Header.Get("Authorization") != r.bearer {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/secevent+jwt" || q.Header.Get("Accept") != "application/json" || q.URL.Path != "/events" {
		r.t.Errorf("%s %s %v", q.Method, q.URL, q.Header)
	}
	token, err := jose.ParseSignedCompact(string(body), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		r.t.Errorf("no token: %v: %s", err, body)
		return
	}
	header := token.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != "secevent+jwt" || len(r.keys.Key(header.KeyID)) != 1 {
		r.t.Errorf("header: %+v", header)
		return
	}
	payload, err := token.Verify(r.keys.Key(header.KeyID)[0].Key)
	if err != nil {
		r.t.Errorf("signature: %v", err)
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		r.t.Error(err)
	}
	if r.answer != nil {
		r.answer(w, c.ID)
		return
	}
	r.got = append(r.got, c)
	w.WriteHeader(http.StatusAccepted)
}

func (r *receiver) ids() string {
	var ids []string
	for _, c := range r.got {
		ids = append(ids, c.ID)
	}
	return strings.Join(ids, " ")
}

// entries are of a chain.
func entries(t *testing.T, ids ...string) []audit.Entry {
	t.Helper()
	var all []audit.Entry
	var head audit.Head
	for _, id := range ids {
		e, err := audit.Encode(head, audit.Event{
			ID: id, At: time.Unix(1_700_000_000, 0), Type: "rotation.activated", Secret: "client-secret", Rotation: "r1", Detail: "<ä>", Data: json.RawMessage(`{"n":1}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		head = audit.Head{Seq: e.Seq, Hash: e.Hash()}
		all = append(all, e)
	}
	return all
}

func TestTokensThatAReceiverCanCheck(t *testing.T) {
	r, s := listen(t)
	all := entries(t, "a", "b")
	if n, err := s.Deliver(t.Context(), all); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	c := r.got[0]
	if c.Issuer != "https://app.example" || c.Audience != "siem" || c.ID != "a" || c.Of != "r1" || c.Time != 1_700_000_000 || time.Since(time.Unix(c.IssuedAt, 0)).Abs() > time.Minute {
		t.Errorf("%+v", c)
	}
	event := c.Events["https://keyway.dev/secevent/rotation.activated"]
	var got, want any
	if json.Unmarshal(event, &got) != nil || json.Unmarshal(all[0].Line, &want) != nil || fmt.Sprint(got) != fmt.Sprint(want) || len(c.Events) != 1 {
		t.Errorf("%s", event)
	}
	// What can't be read goes out all the same.
	if n, err := s.Deliver(t.Context(), []audit.Entry{{Seq: 3, Line: []byte("\xff{")}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if c := r.got[2]; c.ID == "" || len(c.Events) != 1 {
		t.Errorf("%+v", c)
	}
}

// What is not taken holds back what follows, unless it is said of that token alone.
func TestWhatIsNotTaken(t *testing.T) {
	says := func(status int, headers map[string]string, body string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, id string) {
			if id != "b" {
				w.WriteHeader(http.StatusAccepted)
				return
			}
			for name, value := range headers {
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, string)
		after  time.Duration
		passed bool
		want   string
	}{
		"200":                {says(200, nil, ""), 0, false, "expected 202"},
		"204":                {says(204, nil, ""), 0, false, "expected 202"},
		"401":                {says(401, nil, ""), 0, false, "401"},
		"403":                {says(403, nil, ""), 0, false, "403"},
		"404":                {says(404, nil, ""), 0, false, "404"},
		"a redirect":         {says(307, map[string]string{"Location": "https://attacker.example/"}, ""), 0, false, "307"},
		"429":                {says(429, map[string]string{"Retry-After": "120"}, ""), 2 * time.Minute, false, "429"},
		"503 without a time": {says(503, nil, ""), 0, false, "503"},
		"503 at a date":      {says(503, map[string]string{"Retry-After": time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}, ""), 58 * time.Minute, false, "503"},
		"nonsense":           {says(503, map[string]string{"Retry-After": "-5"}, ""), 0, false, "503"},
		"one token alone":    {says(400, nil, `{"err":"invalid_request","description":"no \u001b[2Jsuch event"}`), 0, true, "no ?[2Jsuch event"},
		"who we are":         {says(400, nil, `{"err":"invalid_issuer"}`), 0, false, "invalid_issuer"},
		"our key":            {says(400, nil, `{"err":"invalid_key","description":"unknown kid"}`), 0, false, "unknown kid"},
		"400 without a word": {says(400, nil, `<html>`), 0, false, "400"},
		"cut": {func(w http.ResponseWriter, id string) {
			if id == "b" {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(http.StatusAccepted)
		}, 0, false, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := listen(t)
			r.answer = c.answer
			n, err := s.Deliver(t.Context(), entries(t, "a", "b", "c"))
			if n != 1 || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "receiver-token") || strings.Contains(err.Error(), "from=keyway") {
				t.Errorf("%d, %v", n, err)
			}
			_, passed := errors.AsType[*audit.PassedOverError](err)
			later, _ := errors.AsType[*audit.LaterError](err)
			if passed != c.passed || (later != nil) != (c.after > 0) || later != nil && (later.After < c.after || later.After > c.after+5*time.Minute) {
				t.Errorf("%T %+v", err, err)
			}
		})
	}
}

// A receiver that refuses each token for itself is set up wrongly; the record must
// not be passed over whole.
func TestAReceiverThatRefusesAll(t *testing.T) {
	r, s := listen(t)
	r.answer = func(w http.ResponseWriter, _ string) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"err":"invalid_request"}`)
	}
	passed := 0
	for _, e := range entries(t, "a", "b", "c", "d", "e", "f") {
		_, err := s.Deliver(t.Context(), []audit.Entry{e})
		if _, ok := errors.AsType[*audit.PassedOverError](err); ok {
			passed++
		} else if err == nil || !strings.Contains(err.Error(), "every token") {
			t.Error(err)
		}
	}
	if passed != maxPassed {
		t.Errorf("%d were passed over", passed)
	}
	r.answer = nil
	if n, err := s.Deliver(t.Context(), entries(t, "g")); n != 1 || err != nil || s.passed != 0 {
		t.Error(n, err)
	}
}

func TestAReceiverThatHangs(t *testing.T) {
	r, s := listen(t)
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	r.answer = func(http.ResponseWriter, string) { <-end }
	if n, err := s.Deliver(t.Context(), entries(t, "a")); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(n, err)
	}
}

func TestATokenThatWasReplaced(t *testing.T) {
	r, s := listen(t)
	token := "old"
	s.o.Token = func() (secret.Value, error) { return secret.NewValue([]byte(token)), nil }
	if n, err := s.Deliver(t.Context(), entries(t, "a")); n != 0 || err == nil || !strings.Contains(err.Error(), "401") {
		t.Error(n, err)
	}
	token = "receiver-token"
	if n, err := s.Deliver(t.Context(), entries(t, "a")); n != 1 || err != nil || r.ids() != "a" {
		t.Error(n, err)
	}
	s.o.Token = func() (secret.Value, error) { return secret.Value{}, errors.New("no file") }
	if _, err := s.Deliver(t.Context(), entries(t, "b")); err == nil {
		t.Error("it was sent without a token")
	}
}

func TestOptions(t *testing.T) {
	sign := func(any, string) (string, error) { return "", nil }
	for address, good := range map[string]bool{
		"https://siem.example/events": true, "http://127.0.0.1:1/": true, "http://[::1]:1/": true, "http://localhost/": true,
		"http://siem.example/events": false, "ftp://127.0.0.1/": false, "http://127.0.0.1.nip.io/": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{URL: u, Issuer: "i", Audience: "a", Sign: sign}); (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("nothing was taken")
	}
	if got := printable(strings.Repeat("ä", 300), 10); got != strings.Repeat("ä", 10)+"…" {
		t.Error(got)
	}
	if bytes.Contains([]byte(printable("\x00\u202e", 10)), []byte{0}) {
		t.Error("not printable")
	}
}

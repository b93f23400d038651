package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyway/internal/secret"
	"keyway/internal/threat"
)

func fullRecord() Record {
	at := time.UnixMilli(1_800_000_000_123)
	return Record{
		PublicID: "pub", Provider: "demo", Issuer: "https://idp", Subject: "ada", SID: "sid-1",
		Email: "ada@example.com", Name: "Ada <Lovelace>", Roles: []string{"admin"}, Permissions: []string{"read"},
		Claims:      map[string]json.RawMessage{"locale": json.RawMessage(`"en"`), "n": json.RawMessage(`{"a":[1]}`)},
		AccessToken: secret.NewValue([]byte("hush-access")), AccessExpiry: at.Add(time.Minute),
		RefreshToken: secret.NewValue([]byte("hush-refresh")), IDToken: secret.NewValue([]byte("hush-id")),
		TokenType: "DPoP", TokenKey: "k-1", Scope: "openid", GrantedAt: at, RightsMissed: at.Add(time.Second), RefreshBy: at.Add(2 * time.Second), AuthTime: at, IssuedAt: at.Add(-time.Second), BegunAt: at.Add(-time.Minute), CreatedAt: at, AbsoluteExpiry: at.Add(time.Hour),
		Binding: Binding{"u1", 24, []byte{1}, []byte{2}},
	}
}

// What a refresh of a release of before has carried along is not of that refresh.
func TestRightsThatAnotherRefreshLearned(t *testing.T) {
	b, err := encode(fullRecord(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again := bytes.Replace(b, []byte(`"granted":1800000000123`), []byte(`"granted":1800000009123`), 1)
	if bytes.Equal(b, again) {
		t.Fatal("the test does not find the date")
	}
	if r, _, err := decode(again); err != nil || !r.RightsMissed.IsZero() || r.GrantedAt.IsZero() {
		t.Errorf("missed %v, %v", r.RightsMissed, err)
	}
}

func TestRecordComesBack(t *testing.T) {
	want := fullRecord()
	for i, v := range reflect.ValueOf(want).Fields() {
		if v.IsZero() {
			t.Fatalf("this test forgets the field %s", i.Name)
		}
	}
	b, err := encode(want, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, more, err := decode(b)
	if err != nil || more != nil {
		t.Fatal(more, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("a record came back as another:", diff)
	}
	if _, err := encode(Record{}, nil); err != nil {
		t.Errorf("the zero record: %v", err)
	}
}

func TestRecordOfANewerReplicaKeepsItsFields(t *testing.T) {
	b, err := encode(fullRecord(), unknown{"dpop": json.RawMessage(`{"jkt":"x"}`), "tenant": json.RawMessage(`"t1"`)})
	if err != nil {
		t.Fatal(err)
	}
	got, more, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(more) != 2 || got.Subject != "ada" || !got.AccessToken.Equal(fullRecord().AccessToken) {
		t.Fatalf("%d unknown fields, subject %q", len(more), got.Subject)
	}
	again, err := encode(got, more)
	if err != nil {
		t.Fatal(err)
	}
	if _, more, err = decode(again); err != nil || string(more["tenant"]) != `"t1"` || string(more["dpop"]) != `{"jkt":"x"}` {
		t.Errorf("written again, the unknown fields are %s, %v", more, err)
	}
}

// What a release before this one wrote, which knew no iat.
func TestRecordOfAnOlderReplica(t *testing.T) {
	r := fullRecord()
	r.IssuedAt = time.Time{}
	b, err := encode(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte(`"iat"`)) {
		t.Fatalf("the test is of no use: %s", b)
	}
	if got, _, err := decode(b); err != nil || !got.IssuedAt.IsZero() || got.Subject != "ada" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestRecordOfAnotherFormat(t *testing.T) {
	for _, b := range [][]byte{nil, {}, {2, '{', '}'}, {1}, {1, '['}, []byte("\x01{\"id\":7}"), []byte("\x01{\"id\":\"hush\"")} {
		_, _, err := decode(b)
		if !errors.Is(err, errFormat) {
			t.Errorf("%q: %v, want errFormat", b, err)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: the error quotes the record: %v", b, err)
		}
	}
}

func TestRecordTooLarge(t *testing.T) {
	r := fullRecord()
	r.AccessToken = secret.NewValue(bytes.Repeat([]byte("x"), maxRecord))
	if _, err := encode(r, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	r = fullRecord()
	r.Claims["bad"] = json.RawMessage(`{hush`)
	if _, err := encode(r, nil); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("a claim that is no JSON: %v", err)
	}
}

func TestPrintingShowsNoToken(t *testing.T) {
	threat.Covers(t, 23)
	r := fullRecord()
	s := &Session{rec: &r}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", r)
		fmt.Fprintf(&out, verb+"\n", &r)
		fmt.Fprintf(&out, verb+"\n", []any{r})
		fmt.Fprintf(&out, verb+"\n", struct{ R Record }{r})
	}
	fmt.Fprintf(&out, "%v %s %v\n", s, s, []*Session{s})
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "rec", r, "ptr", &r, "session", s)
	}
	doc, _ := json.Marshal(r)
	out.Write(doc)
	for _, hush := range []string{"hush", "68757368", "ada@example.com"} {
		if text := out.String(); hush != "ada@example.com" && strings.Contains(text, hush) {
			t.Errorf("%q is in what was printed", hush)
		} else if hush == "ada@example.com" && strings.Contains(strings.TrimSuffix(text, string(doc)), hush) {
			t.Error("personal data is in what was printed")
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := encode(fullRecord(), unknown{"x": json.RawMessage("1")})
	f.Add(b)
	f.Add([]byte("\x01{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, more, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(r, more)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		// Written once, it is settled: nothing is lost by being passed on.
		r, more, err = decode(again)
		if err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		if third, err := encode(r, more); err != nil || !bytes.Equal(third, again) {
			t.Errorf("a record changes when it is passed on: %q, then %q, %v", again, third, err)
		}
	})
}

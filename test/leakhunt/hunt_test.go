package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/leakhunt"
	"keyway/internal/threat"
)

// run makes a hunt of what record writes, and go test of what it has printed.
func run(t *testing.T, record func(*leakhunt.Recorder), printed ...string) *gathered {
	t.Helper()
	dir := t.TempDir()
	r, err := leakhunt.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	record(r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	stream := filepath.Join(dir, "test.json")
	var events bytes.Buffer
	for _, p := range printed {
		line, _ := json.Marshal(map[string]string{"Action": "output", "Package": "p", "Test": "TestX", "Output": p})
		events.Write(append(line, '\n'))
	}
	if err := os.WriteFile(stream, events.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := gather(dir, stream)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAPlantedSecretIsFound(t *testing.T) {
	threat.Covers(t, 23)
	const planted = `pl4nted+/="secret"<ünder&>` + "\x01"
	for name, said := range map[string]string{
		"as it is":     planted,
		"in a query":   "GET /x?code=" + url.QueryEscape(planted),
		"in a path":    "/x/" + url.PathEscape(planted),
		"lower case":   strings.ToLower(url.QueryEscape(planted)),
		"hex":          hex.EncodeToString([]byte(planted)),
		"base64":       base64.StdEncoding.EncodeToString([]byte("user:" + planted)),
		"base64 +1":    base64.StdEncoding.EncodeToString([]byte("user1:" + planted + " and more")),
		"base64url":    base64.RawURLEncoding.EncodeToString([]byte("user10:" + planted + "!")),
		"JSON":         jsonOf(planted),
		"JSON in JSON": jsonOf(`{"msg":` + jsonOf(planted) + `}`),
		"quoted":       fmt.Sprintf("%q", planted),
	} {
		t.Run(name, func(t *testing.T) {
			g := run(t, func(r *leakhunt.Recorder) {
				for range 3 {
					must(t, r.Secret("TestY", "client secret", planted))
				}
				must(t, r.Secret("TestY", "cookie", "something else that is a secret"))
				must(t, r.Output("TestY", "log", []byte("before\nlevel=INFO msg=x said="+said+" after\n")))
				must(t, r.Output("TestY", "log", []byte("nothing in here\n")))
			})
			found := g.hunt()
			if len(g.secrets) != 2 || len(found) != 1 || found[0].what != "client secret" || found[0].where != "log" {
				t.Fatalf("%d secrets, found %+v", len(g.secrets), found)
			}
			var out bytes.Buffer
			if g.report(&out, found, floors{}, time.Second) {
				t.Error("the hunt is content")
			}
			if strings.Contains(out.String(), "pl4nted") || !strings.Contains(out.String(), "FOUND client secret of TestY") {
				t.Errorf("it says:\n%s", out.String())
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func jsonOf(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// go test cuts long lines in two.
func TestFoundInWhatTestsPrint(t *testing.T) {
	value := rand.Text() + rand.Text()
	g := run(t, func(r *leakhunt.Recorder) { must(t, r.Secret("", "code", value)) }, "x_test.go:1: "+value[:20], value[20:]+"\n")
	if found := g.hunt(); len(found) != 1 || found[0].where != "go test" || found[0].test != "p TestX" {
		t.Errorf("found %+v", found)
	}
}

func TestTokensThatNobodyToldOf(t *testing.T) {
	const token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
	g := run(t, func(r *leakhunt.Recorder) {
		must(t, r.Secret("", "code", rand.Text()))
		must(t, r.Output("", "log", []byte("eyJ eyJ.eyJ token="+token)))
		must(t, r.Output("", "log", []byte("eyJhbGciOiJFUzI1NiJ9 eyJhbGciOiJFUzI1NiJ9.e.c2lnbmF0dXJlLXNpZ25hdHVyZQ")))
	})
	if found := g.hunt(); len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}

// A part of a long token is enough.
func TestPiecesOfLongSecrets(t *testing.T) {
	value := strings.Repeat("the beginning that all have, ", 5) + rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text()
	g := run(t, func(r *leakhunt.Recorder) {
		must(t, r.Secret("", "access token", value))
		must(t, r.Output("", "log", []byte("the beginning that all have, the beginning that all have, ")))
		must(t, r.Output("", "log", []byte("…"+value[len(value)-60:])))
	})
	if found := g.hunt(); len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}

// A hunt that has nothing to hunt fails.
func TestNothingToHunt(t *testing.T) {
	g := run(t, func(r *leakhunt.Recorder) {
		must(t, r.Secret("", "code", "demo-machine-secret-for-loopback-only"))
		must(t, r.Secret("", "code", "short"))
		must(t, r.Output("", "log", []byte("demo-machine-secret-for-loopback-only")))
	})
	if len(g.secrets) != 0 || len(g.hunt()) != 0 {
		t.Errorf("%v, %v", g.secrets, g.hunt())
	}
	var out bytes.Buffer
	if g.report(&out, nil, floors{}, time.Second) || !strings.Contains(out.String(), "the kind access token") {
		t.Errorf("content with nothing: %s", out.String())
	}
	if _, err := gather(t.TempDir(), ""); err == nil {
		t.Error("content with an empty folder")
	}
	full := &gathered{kinds: map[string]int{}, perOutput: map[string]tally{}}
	for _, k := range kindsOfSecrets {
		full.kinds[k]++
	}
	for _, k := range kindsOfOutputs {
		full.perOutput[k] = tally{1, 1}
	}
	if !full.report(&out, nil, floors{}, 0) || full.report(&out, nil, floors{secrets: 1}, 0) || full.report(&out, nil, floors{outputs: 1}, 0) {
		t.Error("the floors do not hold")
	}
}

// A process that is killed may leave half a record.
func TestHalfARecord(t *testing.T) {
	var got []string
	text := `{"where":"log","bytes":3}` + "\nabc\n" + `{"where":"log","bytes":30}` + "\nab"
	must(t, leakhunt.ReadOutputs([]byte(text), func(_ leakhunt.OutputRecord, b []byte) { got = append(got, string(b)) }))
	must(t, leakhunt.ReadOutputs([]byte(text[:40]), func(leakhunt.OutputRecord, []byte) {}))
	if !slices.Equal(got, []string{"abc", "ab"}) {
		t.Errorf("%q", got)
	}
	if leakhunt.ReadOutputs([]byte("junk\n"), func(leakhunt.OutputRecord, []byte) {}) == nil {
		t.Error("junk is taken")
	}
}

// What the hunt costs at the size of a whole run: 100 MB and 50,000 secrets.
func BenchmarkHunt(b *testing.B) {
	g := &gathered{}
	for range 50_000 {
		g.secrets = append(g.secrets, leakhunt.SecretRecord{What: "x", Value: []byte(rand.Text() + rand.Text())})
	}
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = `{"time":"2026-01-02T15:04:05Z","level":"INFO","msg":"request","path":"/api/notes"}`[i%82]
	}
	for range 100 {
		g.outputs = append(g.outputs, output{"log", "", text})
	}
	b.SetBytes(100 << 20)
	for b.Loop() {
		if len(g.hunt()) != 0 {
			b.Fatal("found")
		}
	}
}

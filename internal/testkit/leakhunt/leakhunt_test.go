package leakhunt_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"keyway/internal/testkit/leakhunt"
)

// hunted reads back what a process with the environment set has written.
func hunted(t *testing.T, dir string) (secrets map[string]string, outputs []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+leakhunt.SecretsFile))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, name := range []string{files[0], files[0] + leakhunt.OutputsFile} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v %v, want a file for its owner only", info, err)
		}
	}
	text, _ := os.ReadFile(files[0])
	all, err := leakhunt.ReadSecrets(text)
	if err != nil {
		t.Fatal(err)
	}
	secrets = map[string]string{}
	for _, s := range all {
		if _, twice := secrets[string(s.Value)]; twice {
			t.Errorf("%s is there twice", s.Value)
		}
		secrets[string(s.Value)] = s.What
	}
	text, _ = os.ReadFile(files[0] + leakhunt.OutputsFile)
	if err := leakhunt.ReadOutputs(text, func(o leakhunt.OutputRecord, b []byte) { outputs = append(outputs, o.Where+": "+string(b)) }); err != nil {
		t.Fatal(err)
	}
	return secrets, outputs
}

// The environment is read once in a process, so this is about another one.
func TestWithAndWithoutTheEnvironment(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestInAnotherProcess$", "-test.v")
		cmd.Env = append(os.Environ(), leakhunt.Env+"="+dir, "LEAKHUNT_TEST_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if dir == "" {
			continue
		}
		secrets, outputs := hunted(t, dir)
		for value, what := range map[string]string{
			"handed in by a test": "a password", "a code that is long enough": "code", "a refresh token that is long": "refresh token",
			"an access token that is long": "access token", "the value of a session cookie": "cookie", "a state that is long enough": "state",
			"a client secret, encoded": "client secret", "an ID token from a page's form": "id token", "a bearer token, shown to it": "access token",
		} {
			if secrets[value] != what {
				t.Errorf("%q is written down as %q, want %q", value, secrets[value], what)
			}
		}
		if len(outputs) != 101 || outputs[100] != "log: one line\n" {
			t.Errorf("%d outputs, the last %q", len(outputs), outputs[len(outputs)-1])
		}
	}
}

func TestInAnotherProcess(t *testing.T) {
	if os.Getenv("LEAKHUNT_TEST_CHILD") == "" {
		return // of the test above
	}
	if leakhunt.Enabled() != (os.Getenv(leakhunt.Env) != "") {
		t.Fatalf("enabled: %v", leakhunt.Enabled())
	}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			leakhunt.Secret(t, "a password", "handed in by a test")
			leakhunt.Secret(t, "short", "1234567")
			leakhunt.Output(t, "metrics", fmt.Appendf(nil, "one of many: %d", i))
		})
	}
	all.Wait()
	var log bytes.Buffer
	io.WriteString(leakhunt.Tee("log", &log), "one line\n")
	if log.String() != "one line\n" {
		t.Errorf("the log has %q", log.String())
	}
	server := httptest.NewServer(leakhunt.Watch(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		switch r.URL.Path {
		case "/authorize":
			http.SetCookie(w, &http.Cookie{Name: "s", Value: "the value of a session cookie", Quoted: true})
			w.Header().Set("Location", "http://x/cb?"+url.Values{"code": {"a code that is long enough"}, "state": {r.URL.Query().Get("state")}}.Encode())
			w.WriteHeader(303)
		case "/token":
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			io.WriteString(w, `{"access_token":"an access token that is long","expires_in":5}`)
		case "/page":
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, `<input type="hidden" name="id_token" value="an ID token from a page's form">`)
			_ = http.NewResponseController(w).Flush()
		default:
			panic(http.ErrAbortHandler)
		}
	})))
	defer server.Close()
	send := func(method, path, body string, header http.Header) {
		r, _ := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		r.Header = header
		if answer, err := http.DefaultTransport.RoundTrip(r); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Basic " + basic("id", url.QueryEscape("a client secret, encoded"))}}
	send("GET", "/authorize?state=a+state+that+is+long+enough&code=short", "", http.Header{})
	send("POST", "/token", url.Values{"refresh_token": {"a refresh token that is long"}}.Encode(), form)
	send("GET", "/page", "", http.Header{"Authorization": {"Bearer a bearer token, shown to it"}})
	send("GET", "/aborted", "", http.Header{})
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}

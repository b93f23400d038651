package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/testkit/child"
	"keyway/internal/testkit/ports"
	"keyway/internal/threat"
)

// machine is a client of the demo that is no browser.
type machine struct {
	base   string // the gateway's
	client *http.Client
	token  string
}

// newMachine fetches an access token at the demo's provider, by the client
// credentials that the documentation names.
func newMachine(t testing.TB, demo *Process) *machine {
	t.Helper()
	at := mustURL(t, demo.AdminURL)
	var port int
	if _, err := fmt.Sscan(at.Port(), &port); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", fmt.Sprintf("http://%s:%d/token", at.Hostname(), port+1),
		strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("demo-machine", "demo-machine-secret-for-loopback-only")
	m := &machine{base: demo.URL, client: &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}}
	resp, err := m.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("token endpoint: %s, %v", resp.Status, err)
	}
	m.token = answer.Token
	return m
}

// call answers with the status of the machines' route; headers come in pairs.
func (m *machine) call(ctx context.Context, headers ...string) (int, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", m.base+"/m2m/notes", nil)
	if err != nil {
		return 0, nil, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := m.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	resp.Body.Close()
	return resp.StatusCode, resp.Header, nil
}

// unknown is a token that can only be asked about: the gateway has to prove who it
// is by its client secret.
func unknown() string { return rand.Text() }

func TestMachinesInTheDemo(t *testing.T) {
	threat.Covers(t, 43)
	demo := startDemo(t)
	m := newMachine(t, demo)
	b := NewBrowser(demo.URL)
	b.SignIn(t, "ada", "/")
	cookie := b.Jar.Get("bff_session")
	for name, c := range map[string]struct {
		headers []string
		want    int
	}{
		"its token":            {[]string{"Authorization", "Bearer " + m.token}, 200},
		"nothing":              {nil, 401},
		"a token of nobody":    {[]string{"Authorization", "Bearer " + unknown()}, 401},
		"a forged token":       {[]string{"Authorization", "Bearer " + m.token[:len(m.token)-8] + "AAAAAAAA"}, 401},
		"another scheme":       {[]string{"Authorization", "Basic " + m.token}, 401},
		"a user's cookie":      {[]string{"Cookie", cookie.Name + "=" + cookie.Value}, 401},
		"a token, and another": {[]string{"Authorization", "Bearer " + m.token, "Authorization", "Bearer " + m.token}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			status, header, err := m.call(t.Context(), c.headers...)
			if err != nil || status != c.want {
				t.Fatalf("status %d, %v, want %d", status, err, c.want)
			}
			if challenge := header.Get("WWW-Authenticate"); (status != 200) != strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("challenge %q with status %d", challenge, status)
			}
			if header.Get("Set-Cookie") != "" {
				t.Error("a machine was given a cookie")
			}
		})
	}
}

// Whoever closes the demo's terminal leaves no keys on the disk.
func TestTheDemoEndsWithItsTerminal(t *testing.T) {
	dir, port := t.TempDir(), ports.Reserve(t, 4)
	p := &Process{
		Process: child.Start(t, command(t, BuildKeyway(t), Env{"TMPDIR": dir}, []string{"demo", "--port", fmt.Sprint(port)})),
		URL:     fmt.Sprintf("http://localhost:%d", port),
	}
	p.WaitReady(t)
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Fatalf("expected one folder in %s, found %v", dir, left)
	}
	p.Signal(syscall.SIGHUP)
	if code, err := p.ExitCode(stopWithin); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/config"
	"keyway/internal/testkit/leakhunt"
)

const patience = 20 * time.Second

// salts are handed in where replicas must agree on them.
const (
	goodSalt  = "salt-0123456789-abcdefghijklmnopqrstuvwxyz"
	otherSalt = "tlas-0123456789-abcdefghijklmnopqrstuvwxyz"
)

// env is an environment with which a gateway starts: on free ports of loopback,
// with folders of its own, and secrets that Keyway makes.
func env(t testing.TB, changes map[string]string) map[string]string {
	dir := t.TempDir()
	all := map[string]string{
		"HOST": "127.0.0.1", "PORT": "0", "BFF_ADMIN_ADDR": "127.0.0.1:0",
		"BFF_KEYS_DIR": filepath.Join(dir, "keys"), "BFF_DATA_DIR": filepath.Join(dir, "data"),
		"BFF_SECRETS_DIR": filepath.Join(dir, "secrets"),
	}
	maps.Copy(all, changes)
	return all
}

const managed = "secrets: managed\n"

// options are Run's for an environment, settings.yaml and routes.yaml.
func options(t testing.TB, environ map[string]string, settings, routes string) Options {
	t.Helper()
	var list []string
	for name, value := range environ {
		list = append(list, name+"="+value)
		for _, word := range []string{"SALT", "SECRET", "KEY", "PASSWORD"} {
			if strings.Contains(name, word) && !strings.HasSuffix(name, "_FILE") && !strings.HasSuffix(name, "_DIR") {
				leakhunt.Secret(t, "the value of "+name, value)
			}
		}
	}
	files := map[string][]byte{config.SettingsFile: []byte(settings)}
	if routes != "" {
		files[config.RoutesFile] = []byte(routes)
	}
	c, err := config.LoadFiles("config", files, list)
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Config: c, Log: slog.New(slog.NewTextHandler(leakhunt.Tee("log", io.Discard), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Env: func(name string) (string, bool) { value, ok := environ[name]; return value, ok },
	}
}

// running is a gateway that has said that it is ready.
type running struct {
	Public, Admin string // URLs
	cancel        context.CancelFunc
	ended         chan error
}

// start runs a gateway until the end of the test at the latest.
func start(t testing.TB, o Options) *running {
	t.Helper()
	r, err := tryStart(t, o)
	if err != nil {
		t.Fatalf("refused to start: %v", err)
	}
	return r
}

func tryStart(t testing.TB, o Options) (*running, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, ended: make(chan error, 1)}
	ready := make(chan Addresses, 1)
	o.Ready = func(a Addresses) { ready <- a }
	var group sync.WaitGroup
	group.Go(func() { r.ended <- Run(ctx, o) })
	t.Cleanup(func() { cancel(); group.Wait() })
	select {
	case at := <-ready:
		r.Public, r.Admin = "http://"+at.Public, "http://"+at.Admin
		if leakhunt.Enabled() {
			t.Cleanup(r.lastWords)
		}
		return r, nil
	case err := <-r.ended:
		return nil, cmpOr(err, errors.New("Run ended without an error, and was never ready"))
	case <-time.After(patience):
		return nil, errors.New("neither ready nor refused in time")
	}
}

func cmpOr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// lastWords hands over what the admin side says at the end of a test.
func (r *running) lastWords() {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for path, where := range map[string]string{"/metrics": "metrics", "/admin/v1/status": "admin", "/admin/v1/audit": "audit"} {
		if answer, err := client.Get(r.Admin + path); err == nil {
			text, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			leakhunt.Written(where, text)
		}
	}
}

// stop asks for a stop, and returns what Run did.
func (r *running) stop(t testing.TB) error {
	t.Helper()
	r.cancel()
	return r.wait(t)
}

func (r *running) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(patience):
		t.Fatal("did not stop in time")
		return nil
	}
}

// get returns the status and the body, or "" and why there was none.
func get(client *http.Client, url string) (status int, body string) {
	response, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, fmt.Sprintf("%s (cut: %v)", b, err)
	}
	return response.StatusCode, string(b)
}

// client is one whose connections end with the test.
func client(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// until asks again and again until ok.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestRunServesWhatTheContractSays(t *testing.T) {
	gateway, c := start(t, options(t, env(t, nil), managed, "")), client(t)
	for path, want := range map[string]string{
		"/health":                `"status":"ok"`,
		"/health/live":           `"status":"ok"`,
		"/health/ready":          `"status":"ok"`,
		"/.well-known/jwks.json": `"kty":"EC"`,
		"/auth/session":          `"authenticated":false`,
	} {
		if status, body := get(c, gateway.Public+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %s, want %s in it", path, status, body, want)
		}
	}
	if status, body := get(c, gateway.Admin+"/metrics"); status != 200 || !strings.Contains(body, `bff_secret_version_info{secret="token-hash-salt"`) {
		t.Errorf("metrics: %d %.500s", status, body)
	}
	// What is for operators is not on the public listener.
	if status, _ := get(c, gateway.Public+"/metrics"); status != 404 {
		t.Errorf("GET /metrics on the public listener: %d, want 404", status)
	}
}

// A page whose own name was made to lead to the admin listener reads nothing there;
// probes may come by any name.
func TestTheAdminListenerGoesByItsOwnName(t *testing.T) {
	gateway, c := start(t, options(t, env(t, nil), managed, "")), client(t)
	for path, want := range map[string]int{"/metrics": 403, "/": 403, "/admin/v1/status": 403, "/health": 200, "/health/live": 200, "/health/ready": 200} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway.Admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "rebound.example:8001"
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("GET %s: %d %.200s, want %d", path, answer.StatusCode, text, want)
		}
	}
}

// Keys outlive the process that made them, and one folder of sessions has one
// process at a time.
func TestTwoGatewaysOnOneFolder(t *testing.T) {
	first, c := env(t, nil), client(t)
	gateway := start(t, options(t, first, managed, ""))
	_, keys := get(c, gateway.Public+"/.well-known/jwks.json")

	_, err := tryStart(t, options(t, first, managed, ""))
	if err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), "BFF_DATA_DIR") {
		t.Errorf("a second on the same data folder: %v", err)
	}
	// The folder of keys may be shared.
	second := maps.Clone(first)
	second["BFF_DATA_DIR"] = filepath.Join(t.TempDir(), "data")
	other := start(t, options(t, second, managed, ""))
	if _, found := get(c, other.Public+"/.well-known/jwks.json"); found != keys {
		t.Errorf("two on one folder of keys publish\n%s and\n%s", keys, found)
	}

	if err := gateway.stop(t); err != nil {
		t.Errorf("stopping: %v", err)
	}
	again := start(t, options(t, first, managed, ""))
	if _, found := get(c, again.Public+"/.well-known/jwks.json"); found != keys {
		t.Errorf("after a restart it publishes\n%s, before\n%s", found, keys)
	}
}

// Two that come at once make one set of keys.
func TestTwoGatewaysMakeOneFolderAtOnce(t *testing.T) {
	first, c := env(t, nil), client(t)
	second := maps.Clone(first)
	second["BFF_DATA_DIR"] = filepath.Join(t.TempDir(), "data")
	var published [2]string
	var group sync.WaitGroup
	for i, environ := range []map[string]string{first, second} {
		o := options(t, environ, managed, "")
		group.Go(func() {
			gateway, err := tryStart(t, o)
			if err != nil {
				t.Error(err)
				return
			}
			_, published[i] = get(c, gateway.Public+"/.well-known/jwks.json")
		})
	}
	group.Wait()
	if published[0] != published[1] || published[0] == "" {
		t.Errorf("they publish\n%s and\n%s", published[0], published[1])
	}
}

// `OPTIONS *` (RFC 9110 section 9.3.7) is answered by the gateway, with what it
// says to everybody, and not by net/http.
func TestOptionsAsterisk(t *testing.T) {
	gateway := start(t, options(t, env(t, nil), managed, ""))
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(gateway.Public, "http://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer), "X-Content-Type-Options: nosniff") {
		t.Errorf("got\n%s", answer)
	}
}

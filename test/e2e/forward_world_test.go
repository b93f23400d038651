package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/ports"
)

// protected is an application behind a proxy that asks keyway, with the
// configuration of deploy/, but for addresses.
type protected struct {
	Front *Process // the proxy
	Gate  *Process // keyway
	IdP   *idptest.Server
	App   *rawApp
}

// doorman is one proxy, and how it is started with its file of deploy/.
type doorman struct {
	part  parts.Part
	start func(t *testing.T, program, dir, public, gate, app string) *exec.Cmd
	// simulate stands in for a program that the tests can't install.
	simulate func(t *testing.T, gate, app string) http.Handler
}

var doormen = map[string]doorman{
	"traefik": {simulate: likeTraefik},
	"envoy":   {simulate: likeEnvoy},
	"nginx": {part: parts.Nginx, start: func(t *testing.T, program, dir, public, gate, app string) *exec.Cmd {
		servers := regexp.MustCompile(`(?m)^\s*ssl_.*;$`).ReplaceAllString(deployed(t, "nginx/keyway.conf"), "")
		servers = substitute(t, servers, "listen 443 ssl", "listen "+public, "127.0.0.1:8000", gate, "127.0.0.1:9000", app)
		var conf strings.Builder
		fmt.Fprintf(&conf, "pid %s/pid;\nerror_log stderr;\ndaemon off;\nevents {}\nhttp {\naccess_log off;\n", dir)
		for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			fmt.Fprintf(&conf, "%s_temp_path %s/%[1]s;\n", name, dir)
		}
		conf.WriteString(servers + "}\n")
		return exec.Command(program, "-p", dir, "-c", written(t, dir, "nginx.conf", conf.String()))
	}},
	"caddy": {part: parts.Caddy, start: func(t *testing.T, program, dir, public, gate, app string) *exec.Cmd {
		file := substitute(t, deployed(t, "caddy/Caddyfile"), "\napp.example.com {", "\nhttp://"+public+" {", "127.0.0.1:8000", gate, "127.0.0.1:9000", app)
		cmd := exec.Command(program, "run", "--adapter", "caddyfile", "--config", written(t, dir, "Caddyfile", "{\n\tadmin off\n}\n"+file))
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		return cmd
	}},
	"haproxy": {part: parts.HAProxy, start: func(t *testing.T, program, dir, public, gate, app string) *exec.Cmd {
		lua := written(t, dir, "keyway.lua", substitute(t, deployed(t, "haproxy/keyway.lua"), "127.0.0.1:8000", gate))
		file := substitute(t, deployed(t, "haproxy/haproxy.cfg"), "/etc/haproxy/keyway.lua", lua,
			"bind :443 ssl crt /etc/haproxy/tls/app.pem", "bind "+public, "127.0.0.1:8000", gate, "127.0.0.1:9000", app)
		return exec.Command(program, "-db", "-f", written(t, dir, "haproxy.cfg", file))
	}},
}

func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts.Root(t), "deploy", name))
	must(t, err)
	return string(text)
}

// substitute changes what a test must, each of it being there.
func substitute(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("expected %q in the configuration", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func written(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// startProtected starts all of it: a provider, keyway, the application, the proxy.
func startProtected(t *testing.T, f doorman) *protected {
	t.Helper()
	public := fmt.Sprint("127.0.0.1:", ports.Reserve(t, 1))
	w := &protected{App: startRawApp(t)}
	w.IdP = idptest.Start(t, idp.Options{Clients: []idp.Client{
		{ID: "my-app", Secrets: []string{"made-up-for-this-test"}, RedirectURIs: []string{"http://" + public + "/auth/callback"}, PostLogoutRedirectURIs: []string{"http://" + public + "/"}},
		{ID: "machine", Secrets: []string{"the-machines-own"}, GrantTypes: []string{idp.GrantClientCredentials}, Audiences: []string{"urn:app"}, Scopes: []string{"notes:read"}},
	}})
	dir := t.TempDir()
	written(t, dir, "routes.yaml", `
services:
  unused: {base_url: "http://127.0.0.1:1"} # the proxy has the application, not keyway
routes:
  - {id: notes, path: /api/notes, methods: [GET, POST], target_service: unused, auth: session}
  - {id: machine, path: /m2m/notes, methods: [GET], target_service: unused, auth: bearer}
  - {id: open, path: "/public/*", methods: [GET], target_service: unused, auth: none}
`)
	written(t, dir, "idps.yaml", "idps:\n  - {name: demo, issuer: \""+w.IdP.URL+"\", audience: \"urn:app\"}\n")
	w.Gate = Start(t, Env{
		"OIDC_ISSUER": w.IdP.URL, "AUTH_CLIENT_ID": "my-app", "AUTH_CLIENT_SECRET": "made-up-for-this-test", "BFF_CONFIG_DIR": dir,
		"BFF_CALLBACK_URL": "http://" + public + "/auth/callback", "BFF_TRUSTED_PROXIES": "127.0.0.1", "BFF_COOKIE_SECURE": "false",
		"TOKEN_HASH_SALT": forwardSalt("a"), "UA_HASH_SALT": forwardSalt("b"), "CSRF_SECRET_KEY": forwardSalt("c"), "STATE_TOKEN_KEY": forwardSalt("d"),
	}, "serve")
	gate := strings.TrimPrefix(w.Gate.URL, "http://")
	w.Front = &Process{URL: "http://" + public}
	if f.simulate != nil {
		l, err := net.Listen("tcp", public)
		must(t, err)
		server := &httptest.Server{Listener: l, Config: &http.Server{Handler: f.simulate(t, gate, w.App.addr)}}
		server.Start()
		t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	} else {
		cmd := f.start(t, parts.Need(t, f.part)[0], t.TempDir(), public, gate, w.App.addr)
		w.Front.Process = child.Start(t, cmd)
	}
	w.Front.waitListening(t)
	return w
}

func (p *Process) waitListening(t *testing.T) {
	t.Helper()
	eventually(t, "the proxy listens", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func forwardSalt(first string) string { return first + "0123456789-abcdefghijklmnopqrstuvwxyz" }

// machineToken is an access token by client credentials.
func (w *protected) machineToken(t *testing.T) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", w.IdP.URL+"/token",
		strings.NewReader(url.Values{"grant_type": {"client_credentials"}, "resource": {"urn:app"}}.Encode()))
	must(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("machine", "the-machines-own")
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("token endpoint: %s, %v", resp.Status, err)
	}
	return answer.Token
}

// rawApp is an application that keeps the heads of requests as they arrived.
type rawApp struct {
	addr string
	mu   sync.Mutex
	seen []string
}

// protectedBytes are what nobody may see without leave.
const protectedBytes = "the application's own bytes"

func startRawApp(t *testing.T) *rawApp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	a := &rawApp{addr: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go a.serve(conn)
		}
	}()
	return a
}

func (a *rawApp) serve(conn net.Conn) {
	defer conn.Close()
	read := bufio.NewReader(conn)
	var head strings.Builder
	for {
		line, err := read.ReadString('\n')
		if err != nil {
			return
		}
		head.WriteString(line)
		if line == "\r\n" {
			break
		}
	}
	a.mu.Lock()
	a.seen = append(a.seen, head.String())
	a.mu.Unlock()
	if strings.Contains(head.String(), " /ticks ") {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n")
		_, _ = read.ReadByte() // until the client leaves
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(protectedBytes), protectedBytes)
}

// last is the head of the last request, and how many there were.
func (a *rawApp) last() (head string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seen) == 0 {
		return "", 0
	}
	return a.seen[len(a.seen)-1], len(a.seen)
}

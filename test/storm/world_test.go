package storm

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/ports"
	"keyway/internal/testkit/realidp"
	"keyway/internal/testkit/redisserver"
	"keyway/test/e2e"
)

// options say how a storm is.
type options struct {
	name     string
	method   string // how the gateway authenticates at the provider
	seed     uint64
	lasts    time.Duration
	lifetime time.Duration // of sessions
	life     time.Duration // the longest that most users stay signed in
	slow     time.Duration // the longest that somebody takes for a password
	guard    time.Duration
	token    time.Duration // lifetime of access tokens
	users    int
	quiet    time.Duration // before anything is taken away
	brief    bool
	hasty    bool // client secrets are changed again before the last is in use
}

const (
	clientID = "gateway"
	askerID  = "gateway-introspection"
	machine  = "machine"
	audience = "https://api.storm.test"
)

// credential is a client secret of ours, and where it is handed in.
type credential struct {
	ring     string // as keyway status has it
	client   string // at the provider
	file     string
	value    string
	old      string // the value before, while it is being changed
	changing bool
}

// world is everything that is there, but for the users and the storm.
type world struct {
	t         *testing.T
	o         options
	dir       string // out/storm/<name>
	public    string
	binary    string
	idp       *realidp.Server
	redis     *redisserver.Server
	replicas  []*replica
	balancer  *balancer
	transport http.RoundTripper // of users' browsers
	direct    http.RoundTripper // to the provider
	ledger    *ledger
	salt      string
	client    *credential // what users are signed in with; nil: the signing key is
	asker     *credential // what machines' tokens are asked about with
	machine   string      // a machine's own secret, at the provider
	refreshes int
	polled    atomic.Int64

	mu      sync.Mutex
	outages []span
}

// build makes the program, once for all storms of this process.
var build = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "out", "keyway-storm")
	next := fmt.Sprintf("%s.%d", path, os.Getpid())
	cmd := exec.Command("go", "build", "-o", next, "./cmd/keyway")
	if os.Getenv("STORM_RACE") == "1" {
		cmd = exec.Command("go", "build", "-race", "-o", next, "./cmd/keyway")
	}
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build keyway: %w\n%s", err, out)
	}
	return path, os.Rename(next, path)
})

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	parts.NotCached() // go test does not see the sources of the binary
	w := &world{t: t, o: o, transport: &http.Transport{MaxIdleConnsPerHost: 256}, direct: &http.Transport{MaxIdleConnsPerHost: 64}}
	w.ledger = newLedger(w)
	var err error
	if w.binary, err = build(); err != nil {
		t.Fatal(err)
	}
	w.dir = filepath.Join(parts.Root(t), "out", "storm", o.name)
	if o.brief {
		w.dir += "-brief" // a long one may go on beside it
	}
	must(t, os.RemoveAll(w.dir))
	must(t, os.MkdirAll(w.dir, 0o700))
	const replicas = 3
	port := ports.Reserve(t, 1+2*replicas)
	w.public = fmt.Sprintf("http://127.0.0.1:%d", port)
	w.salt = text()
	w.ledger.hide(w.salt)
	w.redis = redisserver.Start(t, redisserver.KeepData())
	w.startIdP(t)
	env, apiURL := w.environment(), w.startAPI(t)
	for i := range replicas {
		w.replicas = append(w.replicas, w.replica(t, env, apiURL, i, port+1+2*i))
	}
	w.balancer = newBalancer(w.replicas)
	return w
}

func (w *world) environment() e2e.Env {
	return e2e.Env{
		"PATH": os.Getenv("PATH"), "HOST": "127.0.0.1", "REDIS_URL": w.redis.URL(),
		"OIDC_ISSUER": w.idp.Issuer, "AUTH_CLIENT_ID": clientID, "MS_BFF_TOKEN_AUTH_METHOD": w.o.method,
		"BFF_CALLBACK_URL": w.public + "/auth/callback", "BFF_REFRESH_AHEAD": "1",
		"LOG_FORMAT": "json", "LOG_LEVEL": "info",
		// Handed in, and never changed: a replica that is started again comes with
		// what others have left behind long ago.
		"CSRF_SECRET_KEY": rand.Text() + rand.Text(), "UA_HASH_SALT": rand.Text() + rand.Text(),
	}
}

// configure writes the YAML of one replica.
func (w *world) configure(t *testing.T, dir, secrets, apiURL string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	for name, text := range map[string]string{
		"settings.yaml": fmt.Sprintf("secrets: managed\nrotation: {guard: %s, skew: 0s, poll: 1s}\nsession: {lifetime: %s}\nlimits: {rates: {sign_in: 10000/1m, callback: 10000/1m, refused_tokens: 10000/1m}} # all users have one address\n", w.o.guard, w.o.lifetime),
		"idps.yaml": fmt.Sprintf(`
idps:
  - name: machines
    issuer: %s
    audience: %s
    client_id: %s
    client_secret: file:%s
    token_endpoint_auth_method: client_secret_basic
`, w.idp.Issuer, audience, askerID, filepath.Join(secrets, w.asker.file)),
		"routes.yaml": fmt.Sprintf(`
services:
  api: {base_url: %q, timeout: 20s}
routes:
  - {id: notes, path: /api/notes, target_service: api, upstream_path: /notes, methods: [GET, POST], auth: session}
  - {id: ticks, path: /api/ticks, target_service: api, upstream_path: /ticks, methods: [GET], auth: session, streaming: true}
  - {id: machines, path: /m2m/notes, target_service: api, upstream_path: /machines, methods: [GET], auth: bearer}
`, apiURL),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
}

func (w *world) replica(t *testing.T, env e2e.Env, apiURL string, i, port int) *replica {
	t.Helper()
	name := string(rune('a' + i))
	own := filepath.Join(w.dir, name)
	values := map[string]string{"token_hash_salt": w.salt, w.asker.file: w.asker.value}
	if w.client != nil {
		values[w.client.file] = w.client.value
	}
	files, err := newSecretFiles(filepath.Join(own, "secrets"), values)
	must(t, err)
	w.configure(t, filepath.Join(own, "config"), files.dir, apiURL)
	p := &replica{name: name, files: files, log: filepath.Join(own, "log.json"), addr: fmt.Sprintf("127.0.0.1:%d", port)}
	p.admin = fmt.Sprintf("http://127.0.0.1:%d", port+1)
	p.env = env.With(e2e.Env{
		"PORT": fmt.Sprint(port), "BFF_ADMIN_ADDR": fmt.Sprintf("127.0.0.1:%d", port+1),
		"BFF_KEYS_DIR": filepath.Join(own, "keys"), "BFF_DATA_DIR": filepath.Join(own, "data"), "BFF_SECRETS_DIR": files.dir,
		"BFF_CONFIG_DIR": filepath.Join(own, "config"),
	})
	return p
}

// start runs the replicas and the balancer, and waits until all can serve.
func (w *world) start(ctx context.Context) {
	w.t.Helper()
	for _, p := range w.replicas {
		p.start(w.t, w.binary)
	}
	server, err := w.balancer.listen(strings.TrimPrefix(w.public, "http://"))
	must(w.t, err)
	w.t.Cleanup(func() { server.Close() })
	go w.balancer.check(ctx)
	for deadline := time.Now().Add(30 * time.Second); ; pause(ctx, 50*time.Millisecond) {
		ready := 0
		for _, p := range w.replicas {
			if p.isReady() {
				ready++
			}
		}
		if ready == len(w.replicas) {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d of %d replicas are ready; see %s", ready, len(w.replicas), w.dir)
		}
	}
	if w.o.method == "private_key_jwt" {
		// oidc-provider keeps a client's keys for a minute at the least. A storm wants
		// to see more rotations than one a minute.
		w.tell("jwks-keep", url.Values{"client_id": {clientID}, "seconds": {"3"}})
	}
}

// grace is how long after Redis came back a 503 is borne: connections have to be
// made again.
const grace = 3 * time.Second

func (w *world) wasAway(from, to time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return meets(w.outages, from, to, grace)
}

// sinceBack is how long Redis had been back at t.
func (w *world) sinceBack(t time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.outages); n > 0 && !w.outages[n-1].to.IsZero() {
		return max(0, t.Sub(w.outages[n-1].to))
	}
	return 0
}

func (w *world) redisGone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outages = append(w.outages, span{from: time.Now()})
}

func (w *world) redisBack() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outages[len(w.outages)-1].to = time.Now()
}

func (w *world) redisIsAway() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.outages)
	return n > 0 && w.outages[n-1].to.IsZero()
}

// wasDown reports whether the replica of that name was down by the test's doing.
func (w *world) wasDown(name string, from, to time.Time) bool {
	for _, p := range w.replicas {
		if p.name == name {
			return p.wasDown(from, to)
		}
	}
	return false
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

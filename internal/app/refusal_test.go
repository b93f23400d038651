package app

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/secret"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// A start that would not be safe is refused, in words of an operator's settings.
func TestRefusals(t *testing.T) {
	provided := map[string]string{
		"TOKEN_HASH_SALT": goodSalt, "UA_HASH_SALT": goodSalt + "u", "CSRF_SECRET_KEY": goodSalt + "c", "STATE_TOKEN_KEY": goodSalt + "s",
	}
	with := func(changes map[string]string) map[string]string {
		all := maps.Clone(provided)
		maps.Copy(all, changes)
		return all
	}
	another := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := "http://" + r.Host
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": "https://somebody-else.example", "authorization_endpoint": at + "/a", "token_endpoint": at + "/t", "jwks_uri": at + "/j",
			"response_types_supported": []string{"code"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		})
	}))
	defer another.Close()
	client := map[string]string{
		"OIDC_ISSUER": another.URL, "AUTH_CLIENT_ID": "x", "BFF_CALLBACK_URL": "http://127.0.0.1/auth/callback",
	}
	const service = "services: {s: {base_url: \"https://s.internal\", tls: {%}}}\n"

	for name, tc := range map[string]struct {
		threat           int
		environ          map[string]string
		settings, routes string
		says             []string
	}{
		"no secret at all": {environ: nil, says: []string{
			"4 secrets", "\n  TOKEN_HASH_SALT is required, and is not set", "\n  STATE_TOKEN_KEY is required", "openssl rand -base64 48", "secrets: managed",
		}},
		"one secret is weak": {environ: with(map[string]string{"UA_HASH_SALT": "hunter22"}), says: []string{
			"UA_HASH_SALT is too weak: expected at least 32 bytes of random data, found 8 bytes (environment UA_HASH_SALT); make one",
		}},
		"a client secret that can't be read": {threat: 62, environ: with(map[string]string{"AUTH_CLIENT_SECRET_FILE": "/nowhere/hunter"}), says: []string{
			"AUTH_CLIENT_SECRET: AUTH_CLIENT_SECRET_FILE names a file that can't be used: open /nowhere/hunter",
		}},
		"an issuer that is another": {threat: 9, environ: client, settings: managed, says: []string{
			another.URL, "https://somebody-else.example",
		}},
		"no certificates of an upstream": {settings: managed, routes: strings.Replace(service, "%", "ca_file: /nowhere/ca.pem", 1), says: []string{
			"service s: ca_file: open /nowhere/ca.pem",
		}},
		"no key to an upstream's certificate": {settings: managed,
			routes: strings.Replace(service, "%", "cert_file: refusal_test.go, key: \"file:/nowhere/key.pem\"", 1),
			says:   []string{"service s: tls key: file:/nowhere/key.pem"}},
		"a certificate that is none": {settings: managed,
			routes: strings.Replace(service, "%", "cert_file: refusal_test.go, key: \"file:./refusal_test.go\"", 1),
			says:   []string{"service s: cert_file and key don't make a pair"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.threat != 0 {
				threat.Covers(t, tc.threat)
			}
			environ := env(t, tc.environ)
			_, err := tryStart(t, options(t, environ, tc.settings, tc.routes))
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range tc.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("nothing about %q in:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "hunter22") {
				t.Errorf("the secret was printed:\n%v", err)
			}
			if _, err := os.Stat(filepath.Join(environ["BFF_KEYS_DIR"], "jwks.json")); err == nil {
				t.Error("it made keys before it looked whether it may start")
			}
		})
	}
}

// What is missing can be told from what is weak by a program, too.
func TestSecretsErrorHoldsItsProblems(t *testing.T) {
	_, err := tryStart(t, options(t, env(t, map[string]string{"TOKEN_HASH_SALT": "short"}), "", ""))
	weak, ok := errors.AsType[*secret.WeakError](err)
	if !ok || weak.Name != "TOKEN_HASH_SALT" || !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("got %v, %v", weak, err)
	}
}

// Replicas that share a store have to be given the salt: a salt made in each
// one's folder would find nobody else's sessions.
func TestASharedStoreWantsTheSalt(t *testing.T) {
	o := options(t, env(t, map[string]string{"REDIS_URL": "redis://127.0.0.1:1"}), managed, "")
	began := time.Now()
	_, err := tryStart(t, o)
	if err == nil || !strings.HasPrefix(err.Error(), "TOKEN_HASH_SALT is required") || !strings.Contains(err.Error(), "the same one") {
		t.Errorf("got %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "secrets: managed") {
		t.Errorf("it advises what would not help: %v", err)
	}
	if time.Since(began) > storeWait/2 {
		t.Error("it waited for the store before it looked at its own secrets")
	}
}

// A stop that is asked for while the store is away ends the wait, and says what
// was waited for without its password.
func TestStopWhileWaitingForTheStore(t *testing.T) {
	server := redisserver.Start(t, redisserver.Password("hunter22"))
	at := strings.Replace(server.URL(), "://", "://:hunter22@", 1)
	if strings.Contains(server.URL(), "hunter22") {
		at = server.URL()
	}
	server.Kill()
	o := options(t, env(t, map[string]string{"REDIS_URL": at, "TOKEN_HASH_SALT": goodSalt}), managed, "")
	waiting := make(chan struct{}, 1)
	o.Log = told(waiting, "waiting for the session store")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	<-waiting
	cancel()
	err := <-ended
	if err == nil || !strings.Contains(err.Error(), "told to stop while waiting for the session store at redis://") ||
		strings.Contains(err.Error(), "hunter22") {
		t.Errorf("got %v", err)
	}
}

func TestListenErrorsNameTheSetting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	for name, tc := range map[string]struct {
		environ map[string]string
		says    string
	}{
		"a port in use": {map[string]string{"PORT": port},
			"the public listener: " + at + " is in use by another process; end it, or choose another PORT"},
		"half of localhost in use": {map[string]string{"HOST": "localhost", "PORT": port},
			"the public listener: " + at + " is in use by another process; end it, or choose another PORT"},
		"an admin address in use": {map[string]string{"BFF_ADMIN_ADDR": at},
			"the admin listener: " + at + " is in use by another process; end it, or choose another BFF_ADMIN_ADDR"},
		"an address of documentation": {map[string]string{"HOST": "192.0.2.7"},
			"the public listener: 192.0.2.7 is not an address of this machine; expected one of its addresses, localhost, or 0.0.0.0 for all of them in HOST"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tryStart(t, options(t, env(t, tc.environ), managed, ""))
			if e, ok := errors.AsType[*ListenError](err); !ok || e.Error() != tc.says {
				t.Errorf("got  %v\nwant %s", err, tc.says)
			}
		})
	}
	t.Run("nothing stays open", func(t *testing.T) {
		environ := env(t, map[string]string{"BFF_ADMIN_ADDR": at})
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, environ["PORT"], _ = net.SplitHostPort(free.Addr().String())
		free.Close()
		if _, err := tryStart(t, options(t, environ, managed, "")); err == nil {
			t.Fatal("it started")
		}
		environ["BFF_ADMIN_ADDR"] = "127.0.0.1:0"
		start(t, options(t, environ, managed, ""))
	})
}

package redis_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/secret"
	"keyway/internal/session/redis"
	"keyway/internal/session/storetest"
	"keyway/internal/testkit/ports"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// What is wrong with REDIS_URL is said in its words, with what would be right there.
func TestWhatIsWrongWithTheURLIsSaid(t *testing.T) {
	threat.Covers(t, 23)
	certificate, key := pair(t)
	port := ports.Reserve(t, 1)
	server := redisserver.Start(t, redisserver.Password("hush-hush"), redisserver.Args(
		"--tls-port", fmt.Sprint(port), "--tls-cert-file", certificate, "--tls-key-file", key,
		"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"))
	for name, tc := range map[string]struct {
		url   string
		says  []string
		never string
	}{
		"no password": {url: "redis://" + server.Addr(), never: "HELLO",
			says: []string{"redis refuses: it wants a password: put it into REDIS_URL, as in redis://:PASSWORD@host:6379"}},
		"a wrong password": {url: "redis://:hush-other@" + server.Addr(), never: "WRONGPASS",
			says: []string{"redis refuses: it does not take the password, or the user, in REDIS_URL", "redis://:PASSWORD@host:6379"}},
		"TLS to one without": {url: "rediss://:hush-hush@" + server.Addr(),
			says: []string{"is it a Redis without TLS? Then redis:// in REDIS_URL"}},
		"no TLS to one with": {url: fmt.Sprintf("redis://:hush-hush@127.0.0.1:%d", port),
			says: []string{"is it a Redis with TLS? Then rediss:// in REDIS_URL"}},
		"TLS to one that is not known": {url: fmt.Sprintf("rediss://:hush-hush@127.0.0.1:%d", port), never: "without TLS",
			says: []string{"certificate"}},
		"TLS to nobody": {url: "rediss://:hush-hush@127.0.0.1:1", never: "without TLS", says: []string{"connection refused"}},
		"nobody":        {url: "redis://:hush-hush@127.0.0.1:1", never: "with TLS", says: []string{"connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s, err := redis.Open(t.Context(), redis.Options{URL: secret.NewValue([]byte(tc.url)), Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err == nil {
				err = s.Ping(t.Context())
				s.Close()
				away, ok := errors.AsType[*redis.AwayError](err)
				if !ok {
					t.Fatalf("not away: %v", err)
				}
				if cause := away.StoreAway().Error(); strings.Contains(cause, "session store") {
					t.Errorf("the cause has what we did: %s", cause)
				}
			}
			for _, want := range tc.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("nothing of %q in %v", want, err)
				}
			}
			if text := err.Error() + log.String(); strings.Contains(text, "hush") || tc.never != "" && strings.Contains(text, tc.never) {
				t.Errorf("found %s", text)
			}
		})
	}
}

// A Redis that hangs is away, and it is said for how long it was waited.
func TestNoAnswerIsAway(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, server.URL())
	k := create(t, s)
	server.Pause()
	storetest.Eventually(t, "it is away", func() bool {
		_, err := s.Get(t.Context(), k)
		away, ok := errors.AsType[*redis.AwayError](err)
		if err == nil || !ok {
			return false
		}
		if text := away.StoreAway().Error(); strings.HasPrefix(text, "context ") {
			t.Errorf("says %s", text)
		}
		return true
	})
}

// pair is a certificate for 127.0.0.1 that nobody trusts, and its key, as PEM files.
func pair(t *testing.T) (certificate, key string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	own := server.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("redis.pem", "CERTIFICATE", own.Certificate[0]), write("redis.key", "PRIVATE KEY", private)
}

package app

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// logged is what is logged; it is safe for concurrent use.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// A mistyped issuer, at whose address somebody answers, is not an absent provider.
func TestAWrongIssuerIsNotAnAbsentProvider(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	var log logged
	o := options(t, env(t, map[string]string{
		"OIDC_ISSUER": server.URL + "/realms/x", "AUTH_CLIENT_ID": "me", "BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback",
	}), managed, "")
	o.Log = log.log()
	start(t, o)
	said := log.String()
	for _, word := range []string{"level=WARN", "answers, but has no metadata at " + server.URL + "/realms/x/.well-known/openid-configuration", "404", "is OIDC_ISSUER (oidc.issuer) exactly its issuer?"} {
		if !strings.Contains(said, word) {
			t.Errorf("not said: %s\n%s", word, said)
		}
	}
	if strings.Contains(said, "can't be reached") {
		t.Errorf("it was reached:\n%s", said)
	}
}

package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"

	"keyway/internal/testkit/leakhunt"
	freeports "keyway/internal/testkit/ports"
	"keyway/internal/testkit/redisserver"
)

// fixed is an environment with ports that are known before the gateway says them.
func fixed(t *testing.T, changes map[string]string) (environ map[string]string, public, admin string) {
	t.Helper()
	port := freeports.Reserve(t, 2)
	public, admin = fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port+1)
	environ = env(t, map[string]string{"PORT": fmt.Sprint(port), "BFF_ADMIN_ADDR": admin})
	maps.Copy(environ, changes)
	return environ, "http://" + public, "http://" + admin
}

// A replica whose Redis is away when it starts lives, is not ready, and serves as soon
// as Redis is there. Nobody is refused who asks in between.
func TestRedisAwayAtTheStart(t *testing.T) {
	server := redisserver.Start(t)
	server.Kill()
	environ, public, admin := fixed(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt})
	o := options(t, environ, managed, "")
	ready, ended := make(chan Addresses, 1), make(chan error, 1)
	o.Ready = func(at Addresses) { ready <- at }
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- Run(ctx, o) }()
	t.Cleanup(func() { cancel(); <-ended })

	c := client(t)
	until(t, "it says that it lives", func() bool { status, _ := get(c, public+"/health/live"); return status == 200 })
	var asking sync.WaitGroup
	for _, at := range []string{public, admin} {
		for path, want := range map[string]int{
			"/health/live": 200, "/health": 503, "/health/ready": 503, "/metrics": 503, "/auth/login": 503, "/": 503, "/admin/v1/status": 503,
		} {
			asking.Go(func() { // together: what may be served soon is held for some time
				status, body := get(c, at+path)
				if status != want {
					t.Errorf("%s%s: %d %s", at, path, status, body)
				}
				if strings.HasPrefix(path, "/health") && status == 503 && (!strings.Contains(body, `"sessions":"unavailable"`) || !strings.Contains(body, `"replica":"starting"`)) {
					t.Errorf("%s%s does not say why: %s", at, path, body)
				}
				if !strings.HasPrefix(path, "/health") && !strings.Contains(body, `"code":"starting"`) {
					t.Errorf("%s%s: %s", at, path, body)
				}
			})
		}
	}
	asking.Wait()
	select {
	case <-ready:
		t.Fatal("it says that it is ready")
	default:
	}

	// Who asks from now on is served, if it takes a moment.
	server.Restart()
	if status, body := get(c, public+"/auth/session"); status != 200 {
		t.Errorf("asked while it gets ready: %d %s", status, body)
	}
	until(t, "it is ready", func() bool {
		status, _ := get(c, public+"/health/ready")
		if live, body := get(c, public+"/health/live"); live != 200 {
			t.Errorf("liveness meanwhile: %d %s", live, body)
		}
		return status == 200
	})
	if at := <-ready; "http://"+at.Public != public || "http://"+at.Admin != admin {
		t.Errorf("it says that it listens on %+v", at)
	}
	for _, path := range []string{"/auth/session", "/.well-known/jwks.json"} {
		if status, body := get(c, public+path); status != 200 {
			t.Errorf("%s, once it is ready: %d %s", path, status, body)
		}
	}
	if status, _ := get(c, admin+"/metrics"); status != 200 {
		t.Errorf("metrics, once it is ready: %d", status)
	}
}

// What refuses a start refuses it as before, and leaves no listener behind.
func TestAStartThatFailsBehindItsListeners(t *testing.T) {
	server := redisserver.Start(t)
	first := env(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt})
	start(t, options(t, first, managed, ""))

	environ, public, _ := fixed(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": otherSalt})
	_, err := tryStart(t, options(t, environ, managed, ""))
	if err == nil || !strings.Contains(err.Error(), "TOKEN_HASH_SALT") && !strings.Contains(err.Error(), "token-hash-salt") {
		t.Errorf("a replica with another salt: %v", err)
	}
	l, err := net.Listen("tcp", strings.TrimPrefix(public, "http://"))
	if err != nil {
		t.Fatalf("its listener is still there: %v", err)
	}
	l.Close()

	// Also where its port is in use: what is wrong with the fleet's secrets goes first.
	taken, err := net.Listen("tcp", strings.TrimPrefix(public, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := tryStart(t, options(t, environ, managed, "")); err == nil || strings.Contains(err.Error(), "listener") {
		t.Errorf("a replica with another salt, on a port in use: %v", err)
	}
	environ["TOKEN_HASH_SALT"] = goodSalt
	_, err = tryStart(t, options(t, environ, managed, ""))
	if e, ok := errors.AsType[*ListenError](err); !ok || e.Listener != "public" {
		t.Errorf("on a port in use: %v", err)
	}
}

// A stop while the store is awaited ends the listeners, too; the log shows that they were there.
func TestStopBehindTheListeners(t *testing.T) {
	server := redisserver.Start(t)
	server.Kill()
	environ, public, _ := fixed(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt})
	o := options(t, environ, managed, "")
	o.Log = slog.New(slog.NewTextHandler(leakhunt.Tee("log", io.Discard), nil))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	c := client(t)
	until(t, "it says that it lives", func() bool { status, _ := get(c, public+"/health/live"); return status == 200 })
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "told to stop") {
		t.Errorf("got %v", err)
	}
	l, err := net.Listen("tcp", strings.TrimPrefix(public, "http://"))
	if err != nil {
		t.Fatalf("its listener is still there: %v", err)
	}
	l.Close()
}

package admin

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/secret"
	"keyway/internal/threat"
)

const all = `{"all":true}`

func TestToken(t *testing.T) {
	s := serve(t, true)
	s.do(t, "GET", "/admin/v1/status", "", "Authorization: Bearer "+goodToken).want(t, 200)
	s.do(t, "GET", "/admin/v1/status", "", "Authorization: bearer "+goodToken).want(t, 200)
	// With a token the name that was asked for says nothing: it may be anywhere.
	s.do(t, "GET", "/admin/v1/status", "", "Authorization: Bearer "+goodToken, "Host: keyway-admin.svc:8001").want(t, 200)

	for name, c := range map[string]struct {
		path    string
		headers []string
		code    string
	}{
		"none":             {"status", nil, "unauthenticated"},
		"another":          {"status", []string{"Authorization: Bearer " + strings.Repeat("x", len(goodToken))}, "invalid_token"},
		"a beginning":      {"status", []string{"Authorization: Bearer " + goodToken[:10]}, "invalid_token"},
		"one byte more":    {"status", []string{"Authorization: Bearer " + goodToken + "x"}, "invalid_token"},
		"Basic":            {"status", []string{"Authorization: Basic " + goodToken}, "unauthenticated"},
		"empty":            {"status", []string{"Authorization: Bearer "}, "unauthenticated"},
		"two":              {"status", []string{"Authorization: Bearer " + goodToken, "Authorization: Bearer " + goodToken}, "unauthenticated"},
		"in the query":     {"status?access_token=" + goodToken + "&token=" + goodToken, nil, "unauthenticated"},
		"in a cookie":      {"status", []string{"Cookie: token=" + goodToken + "; Authorization=Bearer " + goodToken}, "unauthenticated"},
		"a path not there": {"nothing", nil, "unauthenticated"},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 43)
			a := s.do(t, "GET", "/admin/v1/"+c.path, "", c.headers...)
			// What no path describes is described by none.
			a.want(t, 401, `"code":"`+c.code+`"`)
			if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") || strings.Contains(got, "invalid_token") != (c.code == "invalid_token") {
				t.Errorf("WWW-Authenticate: %q", got)
			}
			if strings.Contains(a.text, goodToken[:10]) {
				t.Errorf("the token shows: %s", a.text)
			}
		})
	}
	t.Run("in a form", func(t *testing.T) {
		s.do(t, "POST", "/admin/v1/rotations", "all=true&access_token="+goodToken, "Content-Type: application/x-www-form-urlencoded").want(t, 401)
	})
}

func TestTokenThatIsNotThereLetsNobodyIn(t *testing.T) {
	for _, ok := range []bool{true, false} {
		s := serveOptions(t, Options{Control: newFake(), Loopback: true, Token: func() (secret.Value, bool) { return secret.Value{}, ok }}, nil)
		s.do(t, "GET", "/admin/v1/status", "").want(t, 503, "token file")
		s.do(t, "GET", "/admin/v1/status", "", "Authorization: Bearer ").want(t, 503)
	}
}

func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	if _, err := TokenFile(path, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file that is not there was taken")
	}
	write("short\n")
	if _, err := TokenFile(path, slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), "short\n") {
		t.Errorf("a token that can be guessed: %v", err)
	}
	write(goodToken + "\n")
	token, err := TokenFile(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := serveOptions(t, Options{Control: newFake(), Token: token}, nil)
	status := func(token string) int {
		t.Helper()
		return s.do(t, "GET", "/admin/v1/status", "", "Authorization: Bearer "+token).StatusCode
	}
	if got := status(goodToken); got != 200 {
		t.Errorf("found %d", got)
	}
	const next = "another-correct-horse-battery-staple-42"
	write(next)
	if old, now := status(goodToken), status(next); old != 401 || now != 200 {
		t.Errorf("after it was replaced: old %d, new %d", old, now)
	}
	t.Run("last good", func(t *testing.T) {
		threat.Covers(t, 59)
		write("")
		if got := status(next); got != 200 {
			t.Errorf("an empty file: %d", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if a, b := status(next), status(next); a != 200 || b != 200 {
			t.Errorf("no file: %d", a)
		}
		if n := strings.Count(log.String(), "stays in force"); n != 2 || strings.Contains(log.String(), "horse") {
			t.Errorf("logged: %s", log.String())
		}
	})
}

func TestPagesCantAskWithoutAToken(t *testing.T) {
	s := serve(t, false)
	u := s.URL[len("http://"):]
	_, port, _ := net.SplitHostPort(u)
	for name, headers := range map[string][]string{
		"DNS rebinding":              {"Host: attacker.example:" + port},
		"DNS rebinding, same origin": {"Host: attacker.example:" + port, "Origin: http://attacker.example:" + port, "Sec-Fetch-Site: same-origin"},
		"loopback in another name":   {"Host: 127.0.0.1.nip.io:" + port},
		"localhost in another name":  {"Host: localhost.attacker.example"},
		"user info":                  {"Host: 127.0.0.1@attacker.example"},
		"another site":               {"Sec-Fetch-Site: cross-site", "Origin: https://attacker.example"},
		"Sec-Fetch-Site alone":       {"Sec-Fetch-Site: cross-site"},
		"Origin alone":               {"Origin: https://attacker.example"},
		"a sandboxed page":           {"Origin: null"},
		"the public listener":        {"Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:8000"},
		"the https twin":             {"Origin: https://" + u},
		"a suffix":                   {"Origin: http://" + u + ".attacker.example"},
		"two origins":                {"Origin: http://" + u, "Origin: https://attacker.example"},
		"a proxy beside us":          {"X-Forwarded-For: 203.0.113.9"},
		"another proxy beside us":    {"Forwarded: for=203.0.113.9"},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 30)
			for _, a := range []answer{s.do(t, "POST", "/admin/v1/rotations", all, headers...), s.do(t, "GET", "/admin/v1/status", "", headers...)} {
				a.want(t, 403)
				if a.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Error("it may be read by other origins")
				}
			}
		})
	}
	// The preflight by which a page would ask whether it may send JSON.
	a := s.do(t, "OPTIONS", "/admin/v1/rotations", "", "Origin: https://attacker.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
	a.want(t, 403)
	if asked := s.control.started(); len(asked) > 0 {
		t.Errorf("started: %+v", asked)
	}
}

// What a page may send without asking first is not JSON.
func TestSimpleRequestsAreRefused(t *testing.T) {
	for _, withToken := range []bool{false, true} {
		s := serve(t, withToken)
		for _, kind := range []string{"text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "application/problem+json", ""} {
			t.Run(kind, func(t *testing.T) {
				threat.Covers(t, 29)
				headers := []string{"Content-Type: " + kind}
				if withToken {
					headers = append(headers, "Authorization: Bearer "+goodToken)
				}
				s.do(t, "POST", "/admin/v1/rotations", all, headers...).want(t, 415, `"code":"unsupported_media_type"`)
			})
		}
		if asked := s.control.started(); len(asked) > 0 {
			t.Errorf("started: %+v", asked)
		}
	}
}

func TestProgramsOnThisMachineMayAsk(t *testing.T) {
	h := New(Options{Control: newFake(), Loopback: true})
	try := func(h http.Handler, remote, host string, headers ...string) int {
		r := httptest.NewRequest("GET", "http://x/admin/v1/status", nil)
		r.RemoteAddr, r.Host = remote, host
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for _, host := range []string{"127.0.0.1:8001", "localhost:8001", "LOCALHOST", "[::1]:8001", "[::1]", "127.1.2.3", "[::ffff:127.0.0.1]:8001"} {
		if got := try(h, "127.0.0.1:4711", host); got != 200 {
			t.Errorf("%s: %d", host, got)
		}
	}
	if got := try(h, "127.0.0.1:4711", "127.0.0.1:8001", "Origin", "http://127.0.0.1:8001", "Sec-Fetch-Site", "same-origin"); got != 200 {
		t.Errorf("our own page: %d", got)
	}
	for _, remote := range []string{"10.0.0.1:4711", "[2001:db8::1]:4711", "[::ffff:10.0.0.1]:4711", "@", "", "127.0.0.1"} {
		if got := try(h, remote, "127.0.0.1:8001"); got != 403 {
			t.Errorf("peer %q: %d", remote, got)
		}
	}
	for _, remote := range []string{"[::1]:4711", "[::ffff:127.0.0.1]:4711", "127.9.9.9:1"} {
		if got := try(h, remote, "127.0.0.1:8001"); got != 200 {
			t.Errorf("peer %q: %d", remote, got)
		}
	}
	for _, host := range []string{"", "example.com", "10.0.0.1", "0.0.0.0:8001", "[::]:8001", "localhost.", "2130706433", "0x7f.1", "127.1"} {
		if got := try(h, "127.0.0.1:4711", host); got != 403 {
			t.Errorf("host %q: %d", host, got)
		}
	}
	open := New(Options{Control: newFake()})
	if got := try(open, "127.0.0.1:4711", "127.0.0.1:8001"); got != 403 {
		t.Errorf("a listener that is not on loopback, without a token: %d", got)
	}
}

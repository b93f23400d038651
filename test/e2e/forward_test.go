package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

// Each proxy with its file of deploy/, for real: a sign-in through its form, what
// arrives at the application and what doesn't, and the end of it.
func TestForwardAuth(t *testing.T) {
	for name, f := range doormen {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startProtected(t, f)
			w.strangers(t, name)
			b := w.signIn(t)
			w.identity(t, name, b)
			w.cookies(t, name, b)
			w.planted(t, name, b)
			w.upgrades(t, name, b)
			w.spoofed(t, b)
			w.writes(t, b)
			w.paths(t, name)
			w.machine(t, b)
			w.open(t, name)
			w.stream(t, b)
			w.signOut(t, b)
			w.gone(t) // the last: keyway is killed
		})
	}
}

// arrived fails if a request that was refused reached the application.
func (w *protected) refused(t *testing.T, what string, before int, a Answer, want ...int) {
	t.Helper()
	if _, n := w.App.last(); n != before || strings.Contains(a.Text, protectedBytes) {
		t.Errorf("%s: it reached the application", what)
	}
	for _, status := range want {
		if a.StatusCode == status {
			return
		}
	}
	t.Errorf("%s: %s, want one of %v: %s", what, a.Status, want, a.Text)
}

func (w *protected) strangers(t *testing.T, name string) {
	t.Run("nobody", func(t *testing.T) {
		threat.Covers(t, 40)
		b := NewBrowser(w.Front.URL)
		_, n := w.App.last()
		w.refused(t, "a fetch", n, b.Get(t, "/api/notes", "Sec-Fetch-Mode", "cors"), 401)
		w.refused(t, "a write", n, b.Do(t, "POST", "/api/notes", "x=1"), 401)
		w.refused(t, "a health checker", n, b.Get(t, "/api/notes", "User-Agent", "kube-probe/1.30"), 401)
		for _, path := range []string{"/auth/verify", "/auth/forward", "/auth/forward/api/notes"} {
			w.refused(t, path, n, b.Get(t, path), 404)
		}
		const page = "/page?a=1&b=%2Fx&return_to=//evil.example"
		a := b.Get(t, page, "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
		w.refused(t, "a page", n, a, 302)
		to, err := a.Location()
		if err != nil || to.Path != "/auth/login" || "http://"+to.Host != w.Front.URL || to.Query().Get("return_to") != page || len(to.Query()) != 1 {
			t.Errorf("led to %v (%v), want the sign-in and back to %s", to, err, page)
		}
		a = b.Get(t, "/page", "Sec-Fetch-Mode", "navigate", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https")
		if to, err := a.Location(); err != nil || "http://"+to.Host != w.Front.URL {
			t.Errorf("a host of the client's own: led to %v", to)
		}
	})
}

// signIn is a user's whole way from the page, through the form, and back to it.
func (w *protected) signIn(t *testing.T) *Browser {
	t.Helper()
	b := NewBrowser(w.Front.URL)
	a := b.Get(t, "/page?a=1&b=2", "Accept", "text/html")
	to, err := a.Location()
	if err != nil {
		t.Fatalf("%s, want a redirect to the sign-in: %s", a.Status, a.Text)
	}
	a = b.SignIn(t, "ada", to.Query().Get("return_to"))
	back, err := a.Location()
	if err != nil || back.RequestURI() != "/page?a=1&b=2" {
		t.Fatalf("back at %v (%v), want the page", back, err)
	}
	a = b.Get(t, back.RequestURI(), "Accept", "text/html")
	if a.StatusCode != 200 || a.Text != protectedBytes {
		t.Fatalf("signed in: %s %s", a.Status, a.Text)
	}
	return b
}

func (w *protected) identity(t *testing.T, name string, b *Browser) {
	t.Run("identity", func(t *testing.T) {
		threat.Covers(t, 23, 34)
		if a := b.Get(t, "/api/notes?x=%20y", "Cookie", "theirs=1"); a.StatusCode != 200 {
			t.Fatal(a.Status)
		}
		head, _ := w.App.last()
		if !strings.HasPrefix(head, "GET /api/notes?x=%20y HTTP/1.1\r\n") {
			t.Errorf("arrived: %q", head)
		}
		for _, name := range []string{"X-User-ID", "X-User-Email", "X-User-Name", "X-Session-ID", "X-Auth-Time", "X-Original-User"} {
			if values := valuesOf(head, name); len(values) != 1 || values[0] == "" {
				t.Errorf("%s arrived as %q", name, values)
			}
		}
		// Traefik and Envoy have no word for it; the how-to says so.
		passes := doormen[name].simulate != nil
		if !passes && strings.Contains(head, "bff_session") || b.Jar.Get("bff_session") == nil || !passes && strings.Contains(head, b.Jar.Get("bff_session").Value) {
			t.Error("the application sees the session cookie")
		}
		if !strings.Contains(strings.Join(valuesOf(head, "Cookie"), ";"), "theirs=1") {
			t.Error("the application does not see its own cookie")
		}
		if len(valuesOf(head, "Authorization")) > 0 {
			t.Error("the application sees a token")
		}
	})
}

// cookies are the application's own: they arrive as they were sent, whatever is around
// ours, and nothing of ours is left.
func (w *protected) cookies(t *testing.T, name string, b *Browser) {
	t.Run("the application's cookies", func(t *testing.T) {
		if doormen[name].simulate != nil {
			return // they pass all on; the how-to says so
		}
		ours := "bff_session=" + b.Jar.Get("bff_session").Value
		for sent, want := range map[string]string{
			"a=1; " + ours + "; b=2": "a=1; b=2", "a=1;" + ours + ";b=2": "a=1;b=2", ours + "; a=1; b=2": "a=1; b=2", "a=1; b=2; " + ours: "a=1; b=2",
			"__Host-bff_session=x; a=1; " + ours + "; b=2": "a=1; b=2", ours + "; a=1; __Host-bff_session=x; b=2": "a=1; b=2",
			"xbff_session=1; " + ours + "; my_bff_session=2": "xbff_session=1; my_bff_session=2",
			ours + "; xbff_session=1; a=bff_session=2":       "xbff_session=1; a=bff_session=2",
		} {
			status, _ := w.raw(t, "GET /api/notes HTTP/1.1\r\nHost: "+strings.TrimPrefix(w.Front.URL, "http://")+"\r\nCookie: "+sent+"\r\n\r\n")
			head, _ := w.App.last()
			if got := valuesOf(head, "Cookie"); status != 200 || len(got) != 1 || got[0] != want {
				t.Errorf("%s: %d, the application sees %q, want %q", strings.ReplaceAll(sent, ours, "ours"), status, got, want)
			}
		}
	})
}

// planted is for a browser in which a neighbour's host has set a cookie of our
// cookie's other name (RFC 6265 section 8.6): whatever it is next to, ours stays ours.
func (w *protected) planted(t *testing.T, name string, b *Browser) {
	t.Run("planted cookies", func(t *testing.T) {
		threat.Covers(t, 42)
		if doormen[name].simulate != nil {
			return // they pass it on in any case; the how-to says so
		}
		ours := "bff_session=" + b.Jar.Get("bff_session").Value
		for _, cookies := range []string{
			ours + "; theirs=1; __Host-bff_session=x", "__Host-bff_session=x; " + ours, ours + "; __Host-bff_session=x; __Host-bff_session=y",
			"__Host-bff_session=x; " + ours + "; __Host-bff_session=y", ours + ";__Host-bff_session=x", ours + "; x__Host-bff_session=x",
			ours + "\r\nCookie: __Host-bff_session=x", "__Host-bff_session=x\r\nCookie: " + ours,
		} {
			_, before := w.App.last()
			status, _ := w.raw(t, "GET /api/notes HTTP/1.1\r\nHost: "+strings.TrimPrefix(w.Front.URL, "http://")+"\r\nCookie: "+cookies+"\r\n\r\n")
			head, n := w.App.last()
			if status == 200 && n == before || n != before && strings.Contains(head, b.Jar.Get("bff_session").Value) {
				t.Errorf("%s: %d, and the application sees the session cookie among them", strings.ReplaceAll(cookies, ours, "ours"), status)
			}
		}
	})
}

// upgrades asks for a change of protocol behind which nobody would be asked again, and
// the user could be anybody: HTTP/2 in the clear.
func (w *protected) upgrades(t *testing.T, name string, b *Browser) {
	t.Run("upgrades", func(t *testing.T) {
		threat.Covers(t, 36)
		_, n := w.App.last()
		b.Get(t, "/api/notes", "Connection", "Upgrade", "Upgrade", "WebSocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", w.Front.URL)
		if head, now := w.App.last(); doormen[name].simulate == nil && (now == n || !strings.EqualFold(strings.Join(valuesOf(head, "Upgrade"), ","), "websocket") || !strings.EqualFold(strings.Join(valuesOf(head, "Connection"), ","), "upgrade")) {
			t.Errorf("a WebSocket of the page's own arrived %v as %s", now != n, head)
		}
		for _, path := range []string{"/api/notes", "/public/page"} {
			for _, lines := range []string{
				"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
				"Connection: Upgrade\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
				"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
				"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
				"Connection: Upgrade\r\nUpgrade: h2c",
				"Connection: Upgrade\r\nUpgrade: TLS/1.0",
			} {
				if doormen[name].simulate != nil && (path == "/public/page" || !strings.Contains(lines, "HTTP2-Settings")) {
					continue // those names of protocols don't reach us
				}
				_, before := w.App.last()
				status, _ := w.raw(t, "GET "+path+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(w.Front.URL, "http://")+"\r\nCookie: bff_session="+b.Jar.Get("bff_session").Value+"\r\n"+lines+"\r\n\r\n")
				head, n := w.App.last()
				for _, value := range valuesOf(head, "Upgrade") {
					if n != before && value != "" && !strings.EqualFold(value, "websocket") {
						t.Errorf("%s, %s: %d, and the application is asked for %q", path, lines, status, value)
					}
				}
			}
		}
	})
}

// valuesOf are the values of a header in a raw head, by its name in any case.
func valuesOf(head, name string) []string {
	var values []string
	for line := range strings.SplitSeq(head, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

var (
	identityNames = regexp.MustCompile(`(?im)^[^a-z0-9\r\n]*x[^a-z0-9\r\n]+(user|session|auth|original|rewrite)[^a-z0-9\r\n:][^\r\n]*`)
	attack        = "eve-the-attacker"
)

// spoofed sends identity in every spelling, signed in and open to all.
func (w *protected) spoofed(t *testing.T, b *Browser) {
	cookie := "Cookie: bff_session=" + b.Jar.Get("bff_session").Value + "\r\n"
	for name, lines := range map[string]string{
		"as it is":          "X-User-ID: " + attack,
		"lower case":        "x-user-id: " + attack,
		"upper case":        "X-USER-ID: " + attack,
		"twice":             "X-User-ID: " + attack + "\r\nX-User-ID: " + attack,
		"underscores":       "X_User_ID: " + attack,
		"one underscore":    "X-User_ID: " + attack,
		"dots":              "X.User.ID: " + attack,
		"one dot":           "X-User.Id: " + attack,
		"lower underscores": "x_user_id: " + attack,
		"others":            "X-User-Email: " + attack + "\r\nX-User-Name: " + attack + "\r\nX-Session-ID: " + attack + "\r\nX-Original-User: " + attack,
		"where it goes":     "X-Original-URI: /public/" + attack + "\r\nX-Original-Method: " + attack + "\r\nX-Forwarded-Uri: /public/" + attack + "\r\nX-Forwarded-Method: " + attack,
		"where to":          "X-Rewrite-URL: /" + attack,
		"the original URL":  "X-Original-URL: /" + attack,
		"nominated":         "Connection: x-user-id, X-User-Email, X-Session-ID",
		"nominated, kept":   "Connection: keep-alive, x-user-id\r\nX-User-ID: " + attack,
		"folded":            "X-Other: a\r\n X-User-ID: " + attack,
		"a space":           "X-User-ID : " + attack,
		"a tab":             "X-User-ID\t: " + attack,
	} {
		for _, path := range []string{"/api/notes", "/public/page"} {
			t.Run("spoofed, "+name+" "+path, func(t *testing.T) {
				threat.Covers(t, 34, 35, 37)
				_, before := w.App.last()
				request := "GET " + path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(w.Front.URL, "http://") + "\r\n" + lines + "\r\n"
				if path == "/api/notes" {
					request += cookie
				}
				status, _ := w.raw(t, request+"\r\n")
				head, n := w.App.last()
				if n == before {
					if status == 200 || status >= 500 {
						t.Errorf("%d, and nothing arrived", status)
					}
					return // refused is good, too
				}
				if found := identityNames.FindString(strings.ReplaceAll(withoutIdentity(head), "\r", "")); found != "" || strings.Contains(valuesWithoutOther(head), attack) {
					t.Errorf("arrived %q in\n%s", found, head)
				}
				if path == "/api/notes" {
					if id := valuesOf(head, "X-User-ID"); len(id) != 1 || id[0] != "u-ada-1815" {
						t.Errorf("X-User-ID arrived as %q", id)
					}
				}
			})
		}
	}
}

// withoutIdentity takes our own six, in their own spelling, out of a head once.
func withoutIdentity(head string) string {
	for _, name := range []string{"X-User-ID", "X-User-Email", "X-User-Name", "X-Session-ID", "X-Auth-Time", "X-Original-User"} {
		re := regexp.MustCompile(`(?im)^` + name + `: ([^\r\n]*)\r\n`)
		if at := re.FindStringSubmatchIndex(head); at != nil && !strings.Contains(head[at[2]:at[3]], attack) {
			head = head[:at[0]] + head[at[1]:]
		}
	}
	return head
}

// valuesWithoutOther takes X-Other out of a head: it is the client's own.
func valuesWithoutOther(head string) string {
	return regexp.MustCompile(`(?im)^x-other:[^\r\n]*\r\n`).ReplaceAllString(head, "")
}

// raw sends bytes to the proxy, and reads one answer.
func (w *protected) raw(t *testing.T, request string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.Front.URL, "http://"))
	must(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.WriteString(conn, request)
	must(t, err)
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func (w *protected) writes(t *testing.T, b *Browser) {
	t.Run("writes", func(t *testing.T) {
		threat.Covers(t, 29, 30)
		_, n := w.App.last()
		w.refused(t, "without a token", n, b.Do(t, "POST", "/api/notes", "x=1"), 403)
		csrf := b.CSRF(t)
		w.refused(t, "from another site", n, b.Do(t, "POST", "/api/notes", "x=1", "X-CSRF-Token", csrf, "Origin", "https://evil.example"), 403)
		w.refused(t, "a WebSocket from another site", n, b.Get(t, "/api/notes", "Connection", "Upgrade", "Upgrade", "websocket",
			"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", "https://evil.example"), 403)
		w.refused(t, "a method in disguise", n, b.Get(t, "/api/notes", "X-HTTP-Method-Override", "POST"), 403)
		w.refused(t, "a method that the route does not have", n, b.Do(t, "DELETE", "/api/notes", "", "X-CSRF-Token", csrf), 403)
		if a := b.Do(t, "POST", "/api/notes", "x=1", "X-CSRF-Token", csrf, "Origin", w.Front.URL); a.StatusCode != 200 || a.Text != protectedBytes {
			t.Errorf("the page's own: %s %s", a.Status, a.Text)
		}
		if head, _ := w.App.last(); !strings.HasPrefix(head, "POST /api/notes ") || len(valuesOf(head, "Content-Length")) != 1 || valuesOf(head, "Content-Length")[0] != "3" {
			t.Errorf("arrived: %q", head)
		}
	})
}

// paths sends what two servers could read differently: either it is refused, or
// it is decided as what arrives.
func (w *protected) paths(t *testing.T, name string) {
	host := strings.TrimPrefix(w.Front.URL, "http://")
	for _, target := range []string{
		"/public/../api/notes", "/public/%2e%2e/api/notes", "/public/..%2fapi/notes", "/public/..%5capi/notes", "/public//../api/notes",
		"/public/..;/api/notes", "//public/../api/notes", "/public/%252e%252e/api/notes", "/auth/../api/notes", "/auth/%2e%2e/api/notes", "/auth/..%2fapi/notes",
		"/PUBLIC/../api/notes", "http://" + host + "/api/notes", "http://evil.example/api/notes", "/public/./../api/notes", `/public\..\api/notes`,
		"/api/notes#/public/x", "/api/notes?/public/", "/api%2fnotes", "/Auth/login/../../api/notes", "/auth/forward/../../api/notes",
	} {
		t.Run("path "+target, func(t *testing.T) {
			threat.Covers(t, 38, 41)
			_, before := w.App.last()
			status, body := w.raw(t, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			head, n := w.App.last()
			if n == before && !strings.Contains(body, protectedBytes) {
				// Of a host that is not its own caddy says 200 and nothing.
				if status == 200 && (name != "caddy" || body != "") || status >= 502 {
					t.Errorf("%d %s", status, body)
				}
				return
			}
			// It counted as open to all: then no reading of it may leave /public/.
			arrived := strings.Fields(head)[1]
			plain := arrived
			for range 3 {
				if more, err := url.PathUnescape(plain); err == nil {
					plain = more
				}
			}
			if !strings.HasPrefix(arrived, "/public/") || strings.Contains(plain, "..") {
				t.Errorf("%s: nobody's %s arrived as %s", name, target, arrived)
			}
		})
	}
}

func (w *protected) machine(t *testing.T, b *Browser) {
	t.Run("a machine", func(t *testing.T) {
		threat.Covers(t, 43)
		nobody := NewBrowser(w.Front.URL)
		_, n := w.App.last()
		w.refused(t, "no token", n, nobody.Get(t, "/m2m/notes"), 401)
		w.refused(t, "no token, and a page", n, nobody.Get(t, "/m2m/notes", "Sec-Fetch-Mode", "navigate"), 401)
		w.refused(t, "a session", n, b.Get(t, "/m2m/notes"), 401)
		a := nobody.Get(t, "/m2m/notes", "Authorization", "Bearer made-up")
		w.refused(t, "a token of nobody", n, a, 401)
		if all := a.Header.Values("WWW-Authenticate"); len(all) != 1 || !strings.Contains(all[0], `Bearer`) || !strings.Contains(all[0], "invalid_token") {
			t.Errorf("WWW-Authenticate: %q, want one, which says what is wrong with the token", all)
		}
		token := w.machineToken(t)
		w.refused(t, "a token where a session is wanted", n, nobody.Get(t, "/api/notes", "Authorization", "Bearer "+token), 401)
		if a := nobody.Get(t, "/m2m/notes", "Authorization", "Bearer "+token); a.StatusCode != 200 || a.Text != protectedBytes {
			t.Fatalf("%s %s", a.Status, a.Text)
		}
		head, _ := w.App.last()
		if id := valuesOf(head, "X-User-ID"); len(id) != 1 || id[0] != "machine" || len(valuesOf(head, "X-Session-ID")) != 0 && valuesOf(head, "X-Session-ID")[0] != "" {
			t.Errorf("arrived: %s", head)
		}
	})
}

func (w *protected) open(t *testing.T, name string) {
	t.Run("open to all", func(t *testing.T) {
		b := NewBrowser(w.Front.URL)
		if a := b.Get(t, "/public/page?x=1"); a.StatusCode != 200 || a.Text != protectedBytes {
			t.Errorf("%s: %s %s", name, a.Status, a.Text)
		}
		if head, _ := w.App.last(); !strings.HasPrefix(head, "GET /public/page?x=1 ") {
			t.Errorf("arrived: %q", head)
		}
	})
}

// stream sees the first event before the last: nothing on the way waits for the end.
func (w *protected) stream(t *testing.T, b *Browser) {
	t.Run("server-sent events", func(t *testing.T) {
		resp := b.Open(t, "/ticks", "Accept", "text/event-stream")
		defer resp.Body.Close()
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		if resp.StatusCode != 200 || line != "data: 1\n" || err != nil {
			t.Errorf("%s %q %v", resp.Status, line, err)
		}
	})
}

func (w *protected) signOut(t *testing.T, b *Browser) {
	t.Run("signed out", func(t *testing.T) {
		threat.Covers(t, 27)
		kept := *b.Jar.Get("bff_session")
		if a := b.Do(t, "POST", "/auth/logout", "", "X-CSRF-Token", b.CSRF(t), "Origin", w.Front.URL); a.StatusCode != 303 {
			t.Fatalf("logout: %s %s", a.Status, a.Text)
		}
		_, n := w.App.last()
		w.refused(t, "the old cookie", n, b.Get(t, "/api/notes", "Cookie", "bff_session="+kept.Value), 401)
	})
}

// gone takes keyway away: nobody knows who may, so nobody may.
func (w *protected) gone(t *testing.T) {
	t.Run("keyway is gone", func(t *testing.T) {
		threat.Covers(t, 40, 67)
		b := w.signIn(t)
		w.Gate.Kill9()
		_, n := w.App.last()
		for _, headers := range [][]string{nil, {"Sec-Fetch-Mode", "navigate"}, {"X-User-ID", "ada"}} {
			begun := time.Now()
			w.refused(t, fmt.Sprint("with ", headers), n, b.Get(t, "/api/notes", headers...), 403, 500, 502, 503, 504)
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("it took %v to say so", took)
			}
		}
	})
}

package e2e

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"keyway/internal/threat"
)

// Everything that sets a cookie, or says something about one user, in one walk.
func TestCookiesAndCaching(t *testing.T) {
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	b := w.signedIn(t, gateway)
	b.Session(t)
	b.CSRF(t)
	b.Get(t, "/auth/verify")
	b.Get(t, "/api/notes")
	b.Get(t, "/api/nothing")
	b.Get(t, "/api/nobody")
	b.Get(t, "/auth/callback?code=x&state=y")
	b.Do(t, "POST", "/api/notes", "{}")
	b.Do(t, "DELETE", "/auth/session", "")
	b.SignOut(t)
	b.Get(t, "/api/notes")
	b.Get(t, "/auth/verify")
	b.Get(t, "/auth/session")
	host := mustURL(t, gateway.URL).Host

	t.Run("flags", func(t *testing.T) {
		threat.Covers(t, 22)
		seen := map[string]bool{}
		for _, e := range b.Trace.Exchanges(host) {
			for _, line := range e.Header["Set-Cookie"] {
				c, err := http.ParseSetCookie(line)
				if err != nil {
					t.Fatal(err)
				}
				seen[c.Name] = true
				script := c.Name == "bff_csrf"
				if !script && (!strings.HasPrefix(c.Name, "__Host-") || !c.HttpOnly) {
					t.Errorf("%s: %s", e.URL.Path, c.Name)
				}
				if script == c.HttpOnly || !c.Secure || c.Domain != "" || c.Path != "/" || c.SameSite != http.SameSiteLaxMode || len(line) > 4096 {
					t.Errorf("%s sets %s with Secure %v, HttpOnly %v, Domain %q, Path %q, SameSite %v, %d bytes",
						e.URL.Path, c.Name, c.Secure, c.HttpOnly, c.Domain, c.Path, c.SameSite, len(line))
				}
			}
		}
		if !seen["__Host-bff_session"] || !seen["bff_csrf"] || len(seen) < 3 {
			t.Errorf("cookies seen: %v", seen)
		}
	})
	t.Run("deletion matches", func(t *testing.T) {
		threat.Covers(t, 27)
		if left := b.Jar.Get("__Host-bff_session"); left != nil {
			t.Error("the session cookie outlives the logout")
		}
		if left := b.Jar.Get("bff_csrf"); left != nil {
			t.Error("the CSRF cookie outlives the logout")
		}
		for _, name := range b.Jar.Names() {
			if strings.Contains(name, "bff") || strings.Contains(name, "signin") {
				t.Errorf("left over: %s", name)
			}
		}
	})
	t.Run("nothing may be stored", func(t *testing.T) {
		threat.Covers(t, 24)
		for _, e := range b.Trace.Exchanges(host) {
			if e.URL.Path == "/.well-known/jwks.json" {
				continue
			}
			if got := e.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s %s (%d): Cache-Control %q", e.Method, e.URL.Path, e.Status, got)
			}
		}
	})
}

// Whatever is done to the cookie, the answer is the answer to no cookie.
func TestTamperedCookies(t *testing.T) {
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	good := w.signedIn(t, gateway).Jar.Get("__Host-bff_session").Value
	version, id, _ := strings.Cut(good, ".")
	ask := func(cookie string) Answer {
		b := NewBrowser(gateway.URL)
		return b.Get(t, "/api/notes", "Cookie", cookie)
	}
	wantStatus(t, ask("__Host-bff_session="+good), 200)
	// Two answers there are: to what no gateway has ever issued, and to an id that
	// nobody knows (any more).
	none := ask("").JSON(t)
	unknown := ask("__Host-bff_session=" + version + "." + strings.Repeat("A", len(id))).JSON(t)
	flip := func(s string, i int) string { b := []byte(s); b[i] ^= 1; return string(b) }
	for name, value := range map[string]string{
		"first bit": flip(good, len(version)+1), "middle bit": flip(good, len(good)/2),
		"truncated": good[:len(good)-1], "extended": good + "A", "padded": good + "=", "no version": id, "other version": "zzzz." + id,
		"shifted": version[:max(0, len(version)-1)] + "." + version[len(version)-1:] + id, "empty": "", "dots": "...", "quoted": `"` + good + `"`,
		"upper case": strings.ToUpper(good), "huge": strings.Repeat("A", 8000), "twice": good + "; __Host-bff_session=" + good,
		"under the plain name": "x; bff_session=" + good,
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 25)
			a := ask("__Host-bff_session=" + value)
			wantStatus(t, a, 401)
			got := a.JSON(t)
			for _, like := range []map[string]any{none, unknown} {
				like["correlation_id"] = got["correlation_id"]
			}
			if !reflect.DeepEqual(got, none) && !reflect.DeepEqual(got, unknown) {
				t.Errorf("it differs from the answer to any other cookie: %s", a.Text)
			}
		})
	}
	t.Run("bomb", func(t *testing.T) {
		threat.Covers(t, 26)
		for _, cookies := range []string{
			strings.Repeat("a=b; ", 10_000), strings.Repeat("__Host-bff_session=x; ", 2_000),
			"__Host-bff_session_99999999=" + strings.Repeat("x", 4000), "x=" + strings.Repeat("y", 900<<10),
		} {
			a := ask(cookies)
			if a.StatusCode < 400 || a.StatusCode >= 500 {
				t.Errorf("%d bytes of cookies: %s", len(cookies), a.Status)
			}
		}
		wantStatus(t, ask("__Host-bff_session="+good), 200)
	})
}

// A cookie that was there before the sign-in is worth nothing afterwards.
func TestSessionFixation(t *testing.T) {
	threat.Covers(t, 15)
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	mallory := w.signedIn(t, gateway)
	planted := mallory.Jar.Get("__Host-bff_session")
	victim := w.browser(gateway)
	victim.Jar.SetCookies(mustURL(t, gateway.URL), []*http.Cookie{planted})
	before := victim.Session(t)["session_id"]
	wantStatus(t, victim.SignIn(t, "grace", "/"), 303)
	session := victim.Session(t)
	user, _ := session["user"].(map[string]any)
	if user["sub"] != "grace" || session["session_id"] == before || victim.Jar.Get("__Host-bff_session").Value == planted.Value {
		t.Errorf("session %v, before %v", session, before)
	}
	if mallory.SignedIn(t) {
		t.Error("the old id lives on")
	}
}

// Two tabs sign in at once, and each comes to where it wanted to be; a callback
// that is opened twice signs nobody out.
func TestParallelTabs(t *testing.T) {
	threat.Covers(t, 11, 14)
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	one := w.browser(gateway)
	two := one.At(gateway.URL)
	first, second := one.ToCallback(t, "ada", "/one"), two.ToCallback(t, "ada", "/two")
	for callback, want := range map[string]string{first: "/one", second: "/two"} {
		if a := one.Get(t, callback); a.StatusCode != 303 || a.Header.Get("Location") != want {
			t.Errorf("%s to %q, want %s: %s", a.Status, a.Header.Get("Location"), want, a.Text)
		}
	}
	if !one.SignedIn(t) {
		t.Error("not signed in")
	}
	asked := len(w.IdP.Requests(t, "/token"))
	again := one.Get(t, first)
	if again.StatusCode >= 500 || len(w.IdP.Requests(t, "/token")) != asked || !one.SignedIn(t) {
		t.Errorf("the same callback once more: %s, signed in: %v", again.Status, one.SignedIn(t))
	}
}

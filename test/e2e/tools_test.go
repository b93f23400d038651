package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestJarDoesAsBrowsersDo(t *testing.T) {
	page := &url.URL{Scheme: "http", Host: "127.0.0.1:8000", Path: "/auth/callback"}
	for _, tc := range []struct {
		name, set, asked string
		want             bool
	}{
		{"Secure on loopback", "a=1; Secure; Path=/", "http://127.0.0.1:8000/x", true},
		{"ports are one host", "a=1; Path=/", "http://127.0.0.1:9000/", true},
		{"hosts are not", "a=1; Path=/", "http://localhost:8000/", false},
		{"path above", "a=1; Path=/auth", "http://127.0.0.1:8000/auth/x", true},
		{"path beside", "a=1; Path=/auth", "http://127.0.0.1:8000/authority", false},
		{"default path", "a=1", "http://127.0.0.1:8000/auth/x", true},
		{"default path, elsewhere", "a=1", "http://127.0.0.1:8000/", false},
		{"__Host- by the rules", "__Host-a=1; Secure; Path=/", "http://127.0.0.1:8000/", true},
		{"__Host- without Secure", "__Host-a=1; Path=/", "http://127.0.0.1:8000/", false},
		{"__Host- with a Path", "__Host-a=1; Secure; Path=/auth", "http://127.0.0.1:8000/auth", false},
		{"__Host- with a Domain", "__Host-a=1; Secure; Path=/; Domain=127.0.0.1", "http://127.0.0.1:8000/", false},
		{"expired", "a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://127.0.0.1:8000/", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			jar := NewJar()
			c, err := http.ParseSetCookie(tc.set)
			if err != nil {
				t.Fatal(err)
			}
			jar.SetCookies(page, []*http.Cookie{c})
			asked, _ := url.Parse(tc.asked)
			if got := len(jar.Cookies(asked)) == 1; got != tc.want {
				t.Errorf("sent: %v, want %v", got, tc.want)
			}
		})
	}
	t.Run("Max-Age=0 deletes", func(t *testing.T) {
		jar := NewJar()
		jar.SetCookies(page, []*http.Cookie{{Name: "a", Value: "1", Path: "/"}})
		jar.SetCookies(page, []*http.Cookie{{Name: "a", Path: "/", MaxAge: -1}})
		if got := jar.Names(); len(got) != 0 {
			t.Errorf("still there: %v", got)
		}
	})
}

func TestBrowserKeepsCookiesAndStopsAtRedirects(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "__Host-s", Value: "v", Path: "/", Secure: true})
		if _, err := r.Cookie("__Host-s"); err != nil {
			http.Redirect(w, r, "/again", http.StatusSeeOther)
		}
	}))
	defer site.Close()
	b := NewBrowser(site.URL)
	if got := b.Get(t, "/").StatusCode; got != http.StatusSeeOther {
		t.Errorf("first: %d, want the redirect itself", got)
	}
	if got := b.At(site.URL).Get(t, "/").StatusCode; got != http.StatusOK {
		t.Errorf("with the cookie: %d", got)
	}
}

func TestCompleteChoosesWhatIsMissing(t *testing.T) {
	env := Complete(t, Env{"PORT": "4711"})
	if env["PORT"] != "4711" || env["HOST"] != "127.0.0.1" || !strings.HasPrefix(env["BFF_ADMIN_ADDR"], "127.0.0.1:") {
		t.Errorf("got %v", env)
	}
	if env["BFF_DATA_DIR"] == "" || env["BFF_DATA_DIR"] == Complete(t, nil)["BFF_DATA_DIR"] {
		t.Errorf("data folders are shared: %v", env)
	}
}

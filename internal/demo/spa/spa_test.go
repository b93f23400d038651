package spa

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"keyway/internal/threat"
)

func get(t *testing.T, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return do(t, http.MethodGet, target, headers...)
}

func do(t *testing.T, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

// TestPageIsWhole follows what a browser follows.
func TestPageIsWhole(t *testing.T) {
	page := get(t, "/")
	if page.Code != 200 || page.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", page.Code, page.Header())
	}
	want := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1) {
		w := get(t, m[1])
		ext := m[1][strings.LastIndex(m[1], "."):]
		if w.Code != 200 || w.Header().Get("Content-Type") != want[ext] {
			t.Errorf("%s: %d %s", m[1], w.Code, w.Header().Get("Content-Type"))
		}
		if cc := w.Header().Get("Cache-Control"); !strings.Contains(cc, "immutable") {
			t.Errorf("%s: Cache-Control = %q", m[1], cc)
		}
		delete(want, ext)
	}
	if len(want) > 0 {
		t.Errorf("the page refers to no file of type %v", want)
	}
}

// TestPageObeysItsPolicy looks for what the policy would make a browser refuse.
func TestPageObeysItsPolicy(t *testing.T) {
	err := fs.WalkDir(built, "web/dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(built, name)
		content := string(b)
		switch {
		case strings.HasSuffix(name, ".html"), strings.HasSuffix(name, ".svg"):
			if regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:|(src|href)="(https?:)?//`).MatchString(content) {
				t.Errorf("%s has something inline or from elsewhere", name)
			}
		case strings.HasSuffix(name, ".css"):
			if regexp.MustCompile(`(?i)@import|url\(`).MatchString(content) {
				t.Errorf("%s loads something", name)
			}
		}
		if strings.Contains(content, "sourceMappingURL") {
			t.Errorf("%s refers to a source map", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSecurityHeadersAreOnEveryAnswer(t *testing.T) {
	for name, w := range map[string]*httptest.ResponseRecorder{
		"page": get(t, "/"), "deep link": get(t, "/notes", "Accept", "text/html"), "missing": get(t, "/assets/x.js"),
		"post": do(t, "POST", "/"), "licences": get(t, "/licenses.md"),
	} {
		policy := w.Header().Get("Content-Security-Policy")
		for _, d := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
			"form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
		} {
			if !strings.Contains(policy+";", d+";") {
				t.Errorf("%s: no %s in %q", name, d, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %q", name, policy)
		}
		if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options = %q", name, got)
		}
		if got := w.Header().Get("Referrer-Policy"); got != "same-origin" {
			t.Errorf("%s: Referrer-Policy = %q", name, got)
		}
	}
}

func TestOnlyNavigationsFallBackToThePage(t *testing.T) {
	const html = "text/html,application/xhtml+xml,*/*;q=0.8"
	for _, c := range []struct {
		target  string
		headers []string
		status  int
	}{
		{"/notes/7", []string{"Accept", html}, 200},
		{"/notes/7", []string{"Accept", html, "Sec-Fetch-Mode", "navigate"}, 200},
		{"/?from=mail", []string{"Accept", "*/*"}, 200},
		{"/notes/7", []string{"Accept", "application/json"}, 404},
		{"/notes/7", nil, 404},
		{"/notes/7", []string{"Accept", html, "Sec-Fetch-Mode", "cors"}, 404},
		{"/old.js", []string{"Accept", html}, 404},
		{"/index.html", []string{"Accept", html}, 404},
		{"/assets/index-old", []string{"Accept", html}, 404},
		{"/assets/", []string{"Accept", html}, 404},
		{"/assets", []string{"Accept", html}, 404},
		{"/api/missing", []string{"Accept", html}, 404},
		{"/api", []string{"Accept", html}, 404},
		{"/apiary", []string{"Accept", html}, 200},
		{"/auth/missing", []string{"Accept", html}, 404},
		{"/.well-known/missing", []string{"Accept", html}, 404},
		{"/assets/../../spa.go", []string{"Accept", html}, 404},
		{"/web/dist/", []string{"Accept", "*/*"}, 404},
	} {
		w := get(t, c.target, c.headers...)
		if w.Code != c.status {
			t.Errorf("%s %v: %d, want %d", c.target, c.headers, w.Code, c.status)
		}
		if isPage := strings.Contains(w.Body.String(), `id="root"`); isPage != (c.status == 200) {
			t.Errorf("%s %v: page %v", c.target, c.headers, isPage)
		}
	}
}

func TestCaching(t *testing.T) {
	threat.Covers(t, 24)
	page := get(t, "/")
	etag := page.Header().Get("ETag")
	if page.Header().Get("Cache-Control") != "no-cache" || etag == "" {
		t.Errorf("page: %v", page.Header())
	}
	again := get(t, "/", "If-None-Match", etag)
	if again.Code != http.StatusNotModified || again.Body.Len() > 0 || again.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("revalidation: %d %v", again.Code, again.Header())
	}
	for _, w := range []*httptest.ResponseRecorder{get(t, "/assets/gone.js"), do(t, "POST", "/")} {
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%d: Cache-Control = %q", w.Code, got)
		}
	}
	if got := get(t, "/x", "Accept", "text/html").Header().Get("Vary"); got != "Accept, Sec-Fetch-Mode" {
		t.Errorf("Vary = %q", got)
	}
}

func TestMethods(t *testing.T) {
	if w := do(t, "HEAD", "/"); w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if w := do(t, "DELETE", "/"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("DELETE: %d %v", w.Code, w.Header())
	}
}

func TestAnIncompleteBuildIsNoticed(t *testing.T) {
	for name, build := range map[string]fstest.MapFS{
		"no page":      {"dist/assets/a.js": {}},
		"unknown type": {"dist/index.html": {}, "dist/assets/a.wasm": {}},
		"nothing":      {},
	} {
		if _, err := load(build, "dist"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

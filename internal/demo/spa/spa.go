package spa

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed web/dist
var built embed.FS

// csp is what the page may do: run and load what this origin serves, talk to
// this origin, and nothing else. There is no form-action beyond 'self', since
// signing in is a navigation, and nothing inline, so injected markup stays markup.
// Trusted Types leave script no way to turn a string into code either.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

var securityHeaders = map[string]string{
	"Content-Security-Policy":      csp,
	"X-Content-Type-Options":       "nosniff",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	// "no-referrer" would turn the Origin of a form's POST into "null", which a
	// CSRF defence has to refuse.
	"Referrer-Policy": "same-origin",
}

// contentTypes are named here because those of package mime depend on what is
// installed on the machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".md":   "text/markdown; charset=utf-8",
}

// file is one built file, ready to be sent.
type file struct {
	content      []byte
	contentType  string
	cacheControl string
	etag         string
}

// Handler serves the page at / and its files below it. Paths of the page's own
// (deep links) answer with the page too, for navigations only: a script, a fetch or
// a file that isn't there is a 404, never a page in disguise.
//
// It answers nothing personal. It panics if the embedded build has no index.html
// or a file of unknown type.
func Handler() http.Handler {
	files, err := load(built, "web/dist")
	if err != nil {
		panic("spa: " + err.Error())
	}
	return handler(files)
}

// load reads what was built, by URL path.
func load(from fs.FS, root string) (map[string]file, error) {
	files := map[string]file{}
	err := fs.WalkDir(from, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		contentType, ok := contentTypes[path.Ext(name)]
		if !ok {
			return fmt.Errorf("%s: no content type is known for %q", name, path.Ext(name))
		}
		urlPath := strings.TrimPrefix(name, root)
		sum := sha256.Sum256(content)
		f := file{content, contentType, "no-cache", `"` + hex.EncodeToString(sum[:12]) + `"`}
		if strings.HasPrefix(urlPath, "/assets/") {
			// The name has a hash of the content in it (RFC 8246).
			f.cacheControl = "public, max-age=31536000, immutable"
		}
		files[urlPath] = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	index, ok := files["/index.html"]
	if !ok {
		return nil, fmt.Errorf("%s has no index.html; was the page built?", root)
	}
	delete(files, "/index.html") // one address for one page
	files["/"] = index
	return files, nil
}

func handler(files map[string]file) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, value := range securityHeaders {
			h.Set(name, value)
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed)
			return
		}
		f, ok := files[r.URL.Path]
		if !ok {
			// Who asks decides, so a cache must not give one's answer to the other.
			h.Set("Vary", "Accept, Sec-Fetch-Mode")
			if !isNavigation(r) {
				refuse(w, http.StatusNotFound)
				return
			}
			f = files["/"]
		}
		h.Set("Content-Type", f.contentType)
		h.Set("Cache-Control", f.cacheControl)
		h.Set("ETag", f.etag)
		// ServeContent knows HEAD, ranges and conditional requests.
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
	})
}

func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}

// isNavigation says whether a person is going to a place within the page, as
// opposed to a browser or a program fetching a file or calling an API.
func isNavigation(r *http.Request) bool {
	p := r.URL.Path
	// What the gateway itself or an API should have answered must not look as if
	// it had: a client that calls a route that is missing is to see that it is.
	for _, prefix := range []string{"/assets/", "/api/", "/auth/", "/access/", "/m2m/", "/.well-known/", "/health/"} {
		if strings.HasPrefix(p+"/", prefix) {
			return false
		}
	}
	if path.Ext(p) != "" {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

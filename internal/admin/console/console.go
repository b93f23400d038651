package console

import (
	"embed"
	"html/template"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
)

// Policy is the Content-Security-Policy of every answer.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

var (
	//go:embed pages/*.html
	pageFiles embed.FS
	//go:embed static
	staticFiles embed.FS

	pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))
)

// Shown is what the console's page is told when it is served.
type Shown struct {
	Person   string // who signed in; empty: nobody in particular
	MayLeave bool   // there is a session to end
	Load     bool   // there is a load generator
}

// Page writes the console.
func Page(w io.Writer, s Shown) error { return pages.ExecuteTemplate(w, "console.html", s) }

// Ways are the ways in.
type Ways struct{ Token, Provider bool }

// SignIn writes the page for signing in.
func SignIn(w io.Writer, ways Ways) error { return pages.ExecuteTemplate(w, "sign-in.html", ways) }

// Refusal says why somebody may not be here.
type Refusal struct{ Title, Detail, Cure string }

// Refused writes the page for whom a provider knows and who may not be here.
func Refused(w io.Writer, r Refusal) error { return pages.ExecuteTemplate(w, "refused.html", r) }

// GoOn writes a page that goes on to the console by itself.
func GoOn(w io.Writer) error { return pages.ExecuteTemplate(w, "go-on.html", nil) }

// Assets are what the pages load, by name.
func Assets() map[string]http.Handler {
	assets := map[string]http.Handler{}
	files, _ := fs.Sub(staticFiles, "static")
	_ = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			assets[name] = asset(files, name)
		}
		return err
	})
	return assets
}

func asset(files fs.FS, name string) http.Handler {
	content, _ := fs.ReadFile(files, name)
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // not left to what the machine has
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".svg":
		kind = "image/svg+xml"
	case ".LICENSE", "":
		kind = "text/plain; charset=utf-8"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content)
	})
}

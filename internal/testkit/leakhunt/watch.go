package leakhunt

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Parameters and members whose values are secrets, of the specifications that the
// gateway speaks (IANA's registry "OAuth Parameters").
var secretNames = []string{
	"access_token", "actor_token", "assertion", "client_assertion", "client_secret", "code", "code_verifier", "csrf_token", "id_token",
	"id_token_hint", "logout_token", "password", "refresh_token", "registration_access_token", "request", "request_uri", "response",
	"state", "subject_token", "token", "tx",
}

// inJSON are those that are secrets as members of a JSON object as well: a "code" is
// that of an error there.
var inJSON = []string{"access_token", "client_secret", "csrf_token", "id_token", "logout_token", "refresh_token", "registration_access_token", "request_uri"}

// minSniffed is that of the shortest value that is taken from traffic: what a test
// makes up may be a word.
const minSniffed = 16

// Values takes the secrets out of a query or a form.
func Values(v url.Values) {
	if !Enabled() {
		return
	}
	for _, name := range secretNames {
		for _, value := range v[name] {
			sniffed(name, value)
		}
	}
}

// Cookies takes the values of cookies.
func Cookies(all []*http.Cookie) {
	if !Enabled() {
		return
	}
	for _, c := range all {
		sniffed("cookie", c.Value)
	}
}

func sniffed(what, value string) {
	if len(value) < minSniffed {
		return
	}
	if err := recorder().Secret("", strings.ReplaceAll(what, "_", " "), value); err != nil {
		panic("leakhunt: " + err.Error())
	}
}

// maxWatched bounds what is looked at of one body.
const maxWatched = 1 << 20

// Watch is h, of whose traffic the secrets are taken: what it mints, and what it is
// given to check. It is for a provider in a test.
func Watch(h http.Handler) http.Handler {
	if !Enabled() {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Values(r.URL.Query())
		Cookies(r.Cookies())
		authorization(r.Header.Get("Authorization"))
		asked := &kept{}
		if r.Body != nil {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(r.Body, asked), r.Body}
		}
		answered := &watched{ResponseWriter: w}
		// Deferred, because a handler may end its connection by a panic.
		defer func() {
			Body(r.Header.Get("Content-Type"), asked.Bytes())
			Response(w.Header(), answered.body.Bytes())
		}()
		h.ServeHTTP(answered, r)
	})
}

// Response takes the secrets out of a response.
func Response(header http.Header, body []byte) {
	if !Enabled() {
		return
	}
	// The body first: a CSRF token is in a cookie, too, and is called what it is.
	Body(header.Get("Content-Type"), body)
	Cookies((&http.Response{Header: header}).Cookies())
	if to, err := url.Parse(header.Get("Location")); err == nil {
		Values(to.Query())
	}
}

// hidden is a field of a form on a page, as a provider answers with response_mode
// form_post.
var hidden = regexp.MustCompile(`name="([a-z_]+)" value="([^"]*)"`)

// Body takes the secrets out of a form, of a JSON object's members, or of the fields
// of a page.
func Body(contentType string, body []byte) {
	if !Enabled() || len(body) == 0 {
		return
	}
	switch {
	case strings.Contains(contentType, "json"):
		var members map[string]any
		if json.Unmarshal(body, &members) == nil {
			for _, name := range inJSON {
				if value, is := members[name].(string); is {
					sniffed(name, value)
				}
			}
		}
	case strings.Contains(contentType, "x-www-form-urlencoded"):
		if form, err := url.ParseQuery(string(body)); err == nil {
			Values(form)
		}
	case strings.Contains(contentType, "html"):
		for _, m := range hidden.FindAllSubmatch(body, -1) {
			if name := string(m[1]); slices.Contains(secretNames, name) {
				sniffed(name, string(m[2]))
			}
		}
	}
}

// authorization takes what a client has proved itself with: RFC 6750 section 2.1 and
// RFC 7617 section 2.
func authorization(value string) {
	scheme, credentials, _ := strings.Cut(value, " ")
	switch {
	case strings.EqualFold(scheme, "Basic"):
		r := http.Request{Header: http.Header{"Authorization": {value}}}
		if _, password, ok := r.BasicAuth(); ok {
			sniffed("client secret", password)
			if plain, err := url.QueryUnescape(password); err == nil {
				sniffed("client secret", plain) // RFC 6749 section 2.3.1 encodes it
			}
		}
	case credentials != "":
		sniffed("access token", credentials)
	}
}

// kept is the beginning of what is written to it.
type kept struct{ bytes.Buffer }

func (k *kept) Write(p []byte) (int, error) {
	k.Buffer.Write(p[:min(len(p), max(0, maxWatched-k.Len()))])
	return len(p), nil
}

// watched is a ResponseWriter whose body is kept.
type watched struct {
	http.ResponseWriter
	body kept
}

func (w *watched) Write(p []byte) (int, error) {
	_, _ = w.body.Write(p)
	return w.ResponseWriter.Write(p)
}

// Unwrap serves http.NewResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"time"

	"keyway/internal/admin/console"
	"keyway/internal/audit"
	"keyway/internal/problem"
	"keyway/internal/secret"
)

const (
	signInPath   = "/console/sign-in"
	sessionPath  = "/console/session"
	beginPath    = "/console/begin"
	callbackPath = "/console/callback"
	assetPrefix  = "/console/static/"
)

// CallbackPath is where a provider sends browsers back to, on the admin listener.
const CallbackPath = callbackPath

// Console is the page for people, at / and below /console/. It holds nothing of what
// it shows: it asks the API, with the cookie of a session where a token is
// configured, and shows what comes as text.
func (h *Handler) Console() http.Handler {
	pages := map[string]map[string]endpoint{
		"/":         {http.MethodGet: h.page},
		signInPath:  {http.MethodGet: h.signInPage},
		sessionPath: {http.MethodGet: h.describeSession, http.MethodPost: h.openSession, http.MethodDelete: h.endSession},
	}
	if h.signIn != nil {
		pages[beginPath] = map[string]endpoint{http.MethodGet: h.beginSignIn}
		pages[callbackPath] = map[string]endpoint{http.MethodGet: h.finishSignIn}
	}
	withHead(pages)
	assets := console.Assets()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		harden(w.Header())
		w.Header().Set("Content-Security-Policy", console.Policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		if p := h.mayLook(r); p != nil {
			h.log.Warn("admin: refused a request", "peer", peer(r), "code", string(p.Code), "why", p.Detail)
			h.refuse(w, p)
			return
		}
		methods := pages[r.URL.Path]
		if name, ok := strings.CutPrefix(r.URL.Path, assetPrefix); ok && assets[name] != nil {
			asset := func(w http.ResponseWriter, r *http.Request) error {
				assets[name].ServeHTTP(w, r)
				return nil
			}
			methods = map[string]endpoint{http.MethodGet: asset, http.MethodHead: asset}
		}
		h.serve(w, r, methods, "The console is at /.")
	})
}

// mayLook says who is shown a page at all. Without a way to sign in, the rules of
// the API count. Only that another site has a link to us does not matter: a page
// holds nothing, and can't be embedded.
func (h *Handler) mayLook(r *http.Request) *Problem {
	if h.token != nil || h.signIn != nil && !h.loopback {
		return nil
	}
	if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" {
		linked := r.Clone(r.Context())
		linked.Header.Del("Sec-Fetch-Site")
		r = linked
	}
	return h.admitLocal(r)
}

func (h *Handler) page(w http.ResponseWriter, r *http.Request) error {
	one, signedIn := h.session(r, true)
	if !signedIn && !h.open() {
		return h.toSignIn(w)
	}
	return h.render(w, func(w io.Writer) error {
		return console.Page(w, console.Shown{Person: one.name, MayLeave: signedIn, Load: h.load != nil})
	})
}

// open: no sign-in is needed, because only this machine is served.
func (h *Handler) open() bool { return h.token == nil && h.loopback }

func (h *Handler) toSignIn(w http.ResponseWriter) error {
	w.Header().Set("Location", signInPath)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (h *Handler) signInPage(w http.ResponseWriter, _ *http.Request) error {
	return h.render(w, func(w io.Writer) error {
		return console.SignIn(w, console.Ways{Token: h.token != nil, Provider: h.signIn != nil})
	})
}

func (h *Handler) render(w http.ResponseWriter, write func(io.Writer) error) error {
	var page strings.Builder
	if err := write(&page); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, page.String())
	return nil
}

type sessionAnswer struct {
	SignedIn bool   `json:"signed_in"`
	Person   string `json:"person,omitempty"`
}

// describeSession lets the page for signing in find out that nothing is to be done:
// the browser keeps the cookie back when another site's link led there.
func (h *Handler) describeSession(w http.ResponseWriter, r *http.Request) error {
	one, ok := h.session(r, false)
	h.write(w, http.StatusOK, "application/json", sessionAnswer{ok || h.open(), one.name})
	return nil
}

// openSession takes the token, and gives a cookie instead of it: a page that was
// taken over could tell a token to others, and not such a cookie.
func (h *Handler) openSession(w http.ResponseWriter, r *http.Request) error {
	if h.crossOriginToUs(r) {
		return fail(http.StatusForbidden, problem.CrossOrigin, "the request comes from a page of another origin")
	}
	if !h.consoleHost(r.Host) {
		// DNS rebinding: the page's own name leads here, and so its origin is ours. It
		// would use up the guesses of whoever looks at it.
		return fail(http.StatusForbidden, problem.Forbidden, "the name in Host is not the console's").
			cured("Ask by address, as in 127.0.0.1:8001, or set admin.public_url to where browsers reach the console.")
	}
	var ask struct {
		Token string `json:"token"`
	}
	if err := readBody(w, r, &ask, "token"); err != nil {
		return err
	}
	if h.token == nil {
		return absent("token to sign in with")
	}
	now := time.Now()
	if !h.guesses.spend(peer(r), now) {
		w.Header().Set("Retry-After", "60")
		return fail(http.StatusTooManyRequests, problem.TooManyRequests, "too many wrong tokens came from this address").cured("Wait a minute.")
	}
	want, p := h.wanted()
	if p != nil {
		return p
	}
	if !sameToken([]byte(strings.TrimSpace(ask.Token)), want) {
		h.log.Warn("admin: refused a sign-in to the console", "peer", peer(r), "why", "another token")
		h.remember(audit.TypeAdminRefused, "console, from "+peer(r), "another token")
		return fail(http.StatusUnauthorized, problem.InvalidToken, "that is not the token of this gateway").
			cured("Expected the content of the file that admin.token_file names.")
	}
	h.guesses.giveBack(peer(r))
	h.letIn(w, r, consoleSession{by: "console, by token, from " + peer(r), token: sha256.Sum256(want.Reveal())})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// letIn begins a session. An older one of this browser ends.
func (h *Handler) letIn(w http.ResponseWriter, r *http.Request, one consoleSession) {
	if c, err := r.Cookie(h.cookieName(r)); err == nil {
		h.consoleSessions.end(c.Value)
	}
	http.SetCookie(w, h.cookie(r, h.consoleSessions.open(one, time.Now()), int(sessionLife/time.Second)))
	h.log.Info("admin: signed in to the console", "by", one.by)
	h.remember(audit.TypeAdminSignedIn, one.by, "")
}

func (h *Handler) endSession(w http.ResponseWriter, r *http.Request) error {
	if h.crossOriginToUs(r) {
		return fail(http.StatusForbidden, problem.CrossOrigin, "the request comes from a page of another origin")
	}
	if c, err := r.Cookie(h.cookieName(r)); err == nil {
		h.consoleSessions.end(c.Value)
	}
	http.SetCookie(w, h.cookie(r, "", -1))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// consoleHost: the name is ours, or that by which browsers are to reach the console.
func (h *Handler) consoleHost(hostport string) bool {
	return h.ours(hostport) || h.public != nil && strings.EqualFold(hostOf(hostport), h.public.Hostname())
}

// beginSignIn goes to the provider for our own page only: where a provider asks
// nothing more, any page that leads here would have sessions made, and many of them
// push others out. Who comes from elsewhere is shown the page with the button.
func (h *Handler) beginSignIn(w http.ResponseWriter, r *http.Request) error {
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "none" && site != "same-origin" {
			return h.toSignIn(w)
		}
	}
	return h.signIn.Begin(w, r)
}

// finishSignIn answers with a page that goes on by itself rather than with a
// redirect: the browser would not send a SameSite=Strict cookie with one that
// another site has begun.
func (h *Handler) finishSignIn(w http.ResponseWriter, r *http.Request) error {
	person, err := h.signIn.Finish(w, r)
	if err != nil {
		p := problemOf(&unchanged{err})
		h.log.Warn("admin: refused a sign-in to the console", "peer", peer(r), "why", p.Detail)
		h.remember(audit.TypeAdminRefused, "console, from "+peer(r), p.Detail)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(p.Status)
		return console.Refused(w, console.Refusal{Title: p.Title, Detail: p.Detail, Cure: p.Cure})
	}
	by := "console, " + person.Subject
	if person.Name != "" {
		by = "console, " + person.Name + " (" + person.Subject + ")"
	}
	h.letIn(w, r, consoleSession{by: by, name: firstOf(person.Name, person.Subject), token: h.tokenHash()})
	return h.render(w, console.GoOn)
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// session is the one of the request's cookie.
func (h *Handler) session(r *http.Request, touch bool) (consoleSession, bool) {
	c, err := r.Cookie(h.cookieName(r))
	if err != nil || c.Value == "" || len(c.Value) > 64 {
		return consoleSession{}, false
	}
	return h.consoleSessions.find(c.Value, h.tokenHash(), time.Now(), touch)
}

// tokenHash is of the token in force: a session lives as long as that.
func (h *Handler) tokenHash() [32]byte {
	if h.token == nil {
		return [32]byte{}
	}
	want, ok := h.token()
	if !ok {
		want = secret.Value{}
	}
	return sha256.Sum256(want.Reveal())
}

// secure: the browser speaks TLS with us, or with the proxy before us.
func (h *Handler) secure(r *http.Request) bool {
	return r.TLS != nil || h.public != nil && h.public.Scheme == "https" && !loopbackHost(r.Host)
}

func (h *Handler) cookieName(r *http.Request) string {
	if h.secure(r) {
		return "__Host-keyway_console"
	}
	return "keyway_console"
}

func (h *Handler) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: h.cookieName(r), Value: value, Path: "/", MaxAge: maxAge,
		Secure: h.secure(r), HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

func (h *Handler) remember(kind, actor, detail string) {
	h.record(audit.Event{ID: rand.Text(), At: time.Now().UTC(), Type: kind, Actor: actor, Detail: detail})
}

package admin

import (
	_ "embed"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/audit"
	"keyway/internal/problem"
	"keyway/internal/rotation"
	"keyway/internal/secret"
)

// Prefix is where the API is; the handler wants to be asked for all below it.
const Prefix = "/admin/v1/"

//go:embed openapi.json
var openAPI []byte

// Options are what a [Handler] needs.
type Options struct {
	Control Control
	// Token gives the bearer token that everybody has to show. It is called for
	// each request; false, or an empty token, lets nobody in. Nil: there is no
	// token, and only this machine may ask.
	Token func() (secret.Value, bool)
	// Loopback: the listener is bound to loopback addresses only. Without it and
	// without a Token nobody is served, because a proxy beside us (a service mesh's)
	// would make everybody look like this machine.
	Loopback bool
	Log      *slog.Logger // nil: none

	// What follows is not there when it is nil, and the API and the console say so.
	Verifier Verifier
	Sessions Sessions
	Auditor  Auditor
	Charter  Charter
	Load     Load
	// Policies is told that policies have changed.
	Policies Policies
	// SignIn lets people in through an identity provider.
	SignIn SignIn
	// PublicURL is where browsers reach the console, when that is not the address in
	// Host: "https://keyway-admin.example". Its scheme decides whether cookies are
	// Secure. Empty: by Host.
	PublicURL string
	// Record keeps who signed in, and who was refused; it does not block. Nil: nobody
	// does.
	Record func(audit.Event)
}

// Handler answers the API. It is safe for concurrent use.
type Handler struct {
	control         Control
	verifier        Verifier
	sessions        Sessions // of users
	auditor         Auditor
	charter         Charter
	load            Load
	policies        Policies
	signIn          SignIn
	record          func(audit.Event)
	public          *url.URL // nil: by Host
	token           func() (secret.Value, bool)
	loopback        bool
	log             *slog.Logger
	paths           map[string]map[string]endpoint // path, then method
	consoleSessions consoleSessions
	guesses         guesses
	hub             hub
	// One element for each that goes on.
	polls, verifies, streams chan struct{}
}

type endpoint func(w http.ResponseWriter, r *http.Request) error

// New makes a Handler.
func New(o Options) *Handler {
	h := &Handler{
		control: o.Control, verifier: o.Verifier, sessions: o.Sessions, auditor: o.Auditor, charter: o.Charter, load: o.Load, policies: o.Policies,
		signIn: o.SignIn, record: o.Record, token: o.Token, loopback: o.Loopback, log: o.Log,
		polls: make(chan struct{}, maxPolls), verifies: make(chan struct{}, maxVerifies), streams: make(chan struct{}, maxStreams),
	}
	h.hub.h = h
	if u, err := url.Parse(o.PublicURL); err == nil && u.Host != "" {
		h.public = u
	}
	if h.record == nil {
		h.record = func(audit.Event) {}
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.paths = map[string]map[string]endpoint{
		"status":           {http.MethodGet: h.status},
		"rotations":        {http.MethodGet: h.rotations, http.MethodPost: h.rotate},
		"rollbacks":        {http.MethodPost: h.rollback},
		"verify":           {http.MethodGet: h.lastVerify, http.MethodPost: h.verify},
		"audit":            {http.MethodGet: h.audit},
		"series":           {http.MethodGet: h.series},
		"events":           {http.MethodGet: h.events},
		"load":             {http.MethodGet: h.loadState, http.MethodPost: h.turnLoad},
		"policies/changed": {http.MethodPost: h.policiesChanged},
		"openapi.json":     {http.MethodGet: h.describe},
		"sessions":         {http.MethodGet: h.listSessions, http.MethodDelete: h.endSessions},
		oneSession:         {http.MethodDelete: h.endOneSession},
	}
	withHead(h.paths)
	return h
}

// withHead has HEAD wherever GET is.
func withHead(paths map[string]map[string]endpoint) {
	for _, methods := range paths {
		if get, ok := methods[http.MethodGet]; ok {
			methods[http.MethodHead] = get // net/http drops the body
		}
	}
}

// harden keeps browsers from storing, embedding or running an answer.
func harden(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	harden(header)
	// Who may not ask learns nothing, not even which paths there are.
	by, p := h.admit(r, true)
	if p != nil {
		h.log.Warn("admin: refused a request", "peer", peer(r), "code", string(p.Code), "why", p.Detail)
		if p.Status == http.StatusUnauthorized {
			header.Set("WWW-Authenticate", challenge(p.Code))
		}
		h.refuse(w, p)
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, Prefix)
	if !ok {
		path = ""
	}
	methods := h.paths[path]
	if id, ok := strings.CutPrefix(path, sessionsPrefix); ok {
		r.SetPathValue(sessionID, id)
		methods = h.paths[oneSession]
	}
	h.serve(w, withBy(r, by), methods, "%sopenapi.json lists what there is.", Prefix)
}

// serve answers by the method of a path; nil: there is no such path, and cure says
// where to look.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, methods map[string]endpoint, cure string, args ...any) {
	if methods == nil {
		h.refuse(w, fail(http.StatusNotFound, problem.NotFound, "there is nothing at %.100q", r.URL.Path).cured(cure, args...))
		return
	}
	serve, ok := methods[r.Method]
	if !ok {
		allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allow) // RFC 9110 section 15.5.6
		h.refuse(w, fail(http.StatusMethodNotAllowed, problem.MethodNotAllowed, "expected %s, found %.20q", allow, r.Method))
		return
	}
	err := serve(w, r)
	if err == nil || r.Context().Err() != nil { // nobody is there to be answered
		return
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		err = &unchanged{err}
	}
	if p := problemOf(err); p.Status >= http.StatusInternalServerError {
		level := slog.LevelError
		if awayCause(err) != nil { // no fault of ours: the store tells of itself
			level = slog.LevelWarn
		}
		h.log.Log(r.Context(), level, "admin: a request failed", "path", r.URL.Path, "error", err.Error())
	}
	h.refuse(w, err)
}

// challenge follows RFC 6750 section 3.1: the error only if there was a token.
func challenge(code problem.Code) string {
	if code == problem.InvalidToken {
		return `Bearer realm="keyway-admin", error="invalid_token"`
	}
	return `Bearer realm="keyway-admin"`
}

func peer(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

func (h *Handler) status(w http.ResponseWriter, r *http.Request) error {
	s, err := h.control.Status(r.Context())
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, "application/json", s.filled())
	return nil
}

func (h *Handler) describe(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
	return nil
}

type rotationsAnswer struct {
	Rotations []rotation.Rotation `json:"rotations"`
}

type plansAnswer struct {
	Plans []Plan `json:"plans"`
}

func (h *Handler) rotate(w http.ResponseWriter, r *http.Request) error {
	var ask struct {
		Secrets     []string `json:"secrets"`
		All         bool     `json:"all"`
		Compromised bool     `json:"compromised"`
		Plan        bool     `json:"plan"`
	}
	if err := readBody(w, r, &ask, "secrets", "all", "compromised", "plan"); err != nil {
		return err
	}
	if ask.All == (len(ask.Secrets) > 0) {
		return badRequest(`expected either "secrets", with names, or "all": true`)
	}
	if err := checkNames(ask.Secrets); err != nil {
		return err
	}
	if ask.Plan {
		plans, err := h.control.Plan(r.Context(), ask.Secrets, ask.Compromised)
		if err != nil {
			return &unchanged{err}
		}
		plans = list(plans)
		for i := range plans {
			plans[i] = plans[i].filled()
		}
		h.write(w, http.StatusOK, "application/json", plansAnswer{plans})
		return nil
	}
	by := byOf(r)
	rotations, err := h.control.Rotate(r.Context(), Request{Secrets: ask.Secrets, All: ask.All, Compromised: ask.Compromised, By: by})
	if err != nil {
		return err
	}
	for _, one := range rotations {
		h.log.Info("admin: rotation asked for", "secret", one.Secret, "rotation", one.ID, "by", by, "compromised", ask.Compromised)
	}
	h.write(w, http.StatusAccepted, "application/json", rotationsAnswer{list(rotations)})
	return nil
}

func (h *Handler) rollback(w http.ResponseWriter, r *http.Request) error {
	var ask struct {
		Secret string `json:"secret"`
	}
	if err := readBody(w, r, &ask, "secret"); err != nil {
		return err
	}
	if err := checkNames([]string{ask.Secret}); err != nil {
		return err
	}
	by := byOf(r)
	one, err := h.control.Rollback(r.Context(), ask.Secret, by)
	if err != nil {
		return err
	}
	h.log.Info("admin: rollback asked for", "secret", ask.Secret, "rotation", one.ID, "by", by)
	h.write(w, http.StatusOK, "application/json", rotationsAnswer{[]rotation.Rotation{one}})
	return nil
}

// maxNames is more secrets than anybody has.
const maxNames = 100

func checkNames(names []string) error {
	if len(names) > maxNames {
		return badRequest("expected at most %d names, found %d", maxNames, len(names))
	}
	for i, name := range names {
		if name == "" || len(name) > 128 {
			return badRequest("expected the name of a secret, found %d bytes", len(name))
		}
		if slices.Contains(names[:i], name) {
			return badRequest("%q is named twice", name)
		}
	}
	return nil
}

func badRequest(format string, args ...any) error {
	return fail(http.StatusBadRequest, problem.BadRequest, format, args...)
}

var errBusy = busyError(fmt.Sprintf("%d requests wait for rotations already", maxPolls))

// bodyTimeout is how long a body of at most 64 KiB may take.
const bodyTimeout = 10 * time.Second

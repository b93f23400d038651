package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ErrUnavailable is wrapped by a Verify that could not decide, for instance
// because the identity provider can't be reached. The API then answers 503
// rather than blaming the token.
var ErrUnavailable = errors.New("tokens can't be checked right now")

// Subject is who a token speaks for.
type Subject struct {
	ID       string // sub: the user, or the client itself for client credentials
	ClientID string // client_id of the token; may be empty
}

// Options configure [New]. Only Verify is required.
type Options struct {
	// Verify checks an access token. Any error refuses the request: with 503 if it
	// wraps ErrUnavailable, with 401 otherwise. It must be safe for concurrent use
	// and respect ctx. The error's text is never sent to the client.
	Verify func(ctx context.Context, token string) (Subject, error)

	// TickInterval is the time between two events of /ticks and /ws; one second
	// when zero.
	TickInterval time.Duration

	// MaxNotes is how many notes a user may have; the oldest makes room for the
	// newest. 50 when zero.
	MaxNotes int

	// MaxUsers is how many users may have notes; the user whose last note is the
	// oldest makes room. 200 when zero.
	MaxUsers int

	// Now is the clock for timestamps; time.Now when nil.
	Now func() time.Time
}

type server struct {
	opts      Options
	notes     *notebook
	resources map[string]methods // by path
}

// New returns the API. It panics without Options.Verify, because an API that
// verifies nothing must not come up.
//
// The event streams last as long as the request's context. To end them on
// shutdown, give http.Server a BaseContext that is cancelled; WebSocket
// connections are hijacked, and end with it too.
func New(opts Options) http.Handler {
	if opts.Verify == nil {
		panic("api: Options.Verify is required")
	}
	if opts.TickInterval <= 0 {
		opts.TickInterval = time.Second
	}
	if opts.MaxNotes <= 0 {
		opts.MaxNotes = 50
	}
	if opts.MaxUsers <= 0 {
		opts.MaxUsers = 200
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &server{opts: opts, notes: newNotebook(opts.MaxUsers, opts.MaxNotes)}

	s.resources = map[string]methods{
		"/notes":     {http.MethodGet: s.listNotes, http.MethodPost: s.createNote},
		"/m2m/notes": {http.MethodGet: s.surveyNotes},
		"/ticks":     {http.MethodGet: s.streamTicks},
		"/ws":        {http.MethodGet: s.serveWebSocket},
	}
	return s.authenticated(s.dispatch)
}

type handler func(http.ResponseWriter, *http.Request, Subject)

type methods map[string]handler

// dispatch finds the resource by the path exactly as it came. An http.ServeMux
// would redirect an untidy path, and so hide from the echo what the upstream saw.
func (s *server) dispatch(w http.ResponseWriter, r *http.Request, who Subject) {
	if r.URL.Path == "/echo" || strings.HasPrefix(r.URL.Path, "/echo/") {
		s.echo(w, r, who)
		return
	}
	by, ok := s.resources[r.URL.Path]
	if !ok {
		writeProblem(w, r, problem{http.StatusNotFound, "not_found", "This API has no such resource."})
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves out the body
	}
	h, ok := by[method]
	if !ok {
		allow := strings.Join(slices.Sorted(maps.Keys(by)), ", ")
		w.Header().Set("Allow", allow)
		writeProblem(w, r, problem{http.StatusMethodNotAllowed, "method_not_allowed",
			"This resource offers " + allow + ", not " + printable(r.Method) + "."})
		return
	}
	h(w, r, who)
}

// authenticated asks for a bearer token before anything else is looked at, so
// that a stranger can't even learn which resources exist.
func (s *server) authenticated(next handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// What this API answers is always about one caller.
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")

		token, ok := bearerToken(r.Header.Values("Authorization"))
		if !ok {
			// RFC 6750 section 3.1: no error code for a request without credentials.
			w.Header().Set("WWW-Authenticate", `Bearer realm="demo-api"`)
			writeProblem(w, r, problem{http.StatusUnauthorized, "token_required",
				"Send one Authorization field with one access token: Bearer, a space, the token."})
			return
		}
		who, err := s.opts.Verify(r.Context(), token)
		switch {
		case errors.Is(err, ErrUnavailable):
			w.Header().Set("Retry-After", "2")
			writeProblem(w, r, problem{http.StatusServiceUnavailable, "verification_unavailable",
				"The access token can't be checked right now. Try again."})
		case err != nil || who.ID == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="demo-api", error="invalid_token"`)
			writeProblem(w, r, problem{http.StatusUnauthorized, "invalid_token", "The access token was refused."})
		default:
			next(w, r, who)
		}
	}
}

// maxToken is generous for a JWT, and small enough not to be worth sending.
const maxToken = 16 << 10

// bearerToken takes the token from the Authorization field, the only place where
// this API looks: RFC 6750 section 2 allows form and query too, but RFC 9700
// section 4.3.2 tells why not to.
func bearerToken(fields []string) (string, bool) {
	if len(fields) != 1 {
		return "", false
	}
	// RFC 9110 section 11.1: schemes are case-insensitive. DPoP-bound tokens come
	// under a scheme of their own (RFC 9449 section 7.1), which this API does not offer.
	scheme, token, _ := strings.Cut(fields[0], " ")
	token = strings.TrimLeft(token, " ")
	ok := strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= maxToken && !strings.ContainsAny(token, " ,\t")
	return token, ok
}

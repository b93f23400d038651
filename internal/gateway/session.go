package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"keyway/internal/problem"
	"keyway/internal/seal"
	"keyway/internal/session"
	"keyway/internal/upstream"
)

// findSession is the session of the request's cookie.
func (c *call) findSession() (*session.Session, error) {
	s, err := c.gen.Sessions.Find(c.r.Context(), c.r.Header["Cookie"], c.sender())
	if err != nil {
		if b, ok := errors.AsType[*session.BindingError](err); ok {
			c.gateway.metrics.BindingFailure(b.Reason)
		}
		return nil, err
	}
	c.event.Session = s.PublicID()
	return s, nil
}

// sender is who the session room may bind a session to.
func (c *call) sender() session.Client {
	return session.Client{Addr: c.client.Addr, UserAgent: c.r.UserAgent()}
}

// fresh is s with an access token that can be used, renewed if that is due.
func (c *call) fresh(s *session.Session) (*session.Session, error) {
	if c.gen.SignIn == nil {
		return s, nil
	}
	return c.gen.Sessions.Fresh(c.r.Context(), s, c.refresh)
}

// exhausted reports whether the session's access token is over for good.
func exhausted(s *session.Session) bool {
	return !s.AccessValid(time.Now()) && s.Record().RefreshToken.IsZero()
}

// sessionView is what a page may know of its session. It has no token and no
// cookie's value in it, and never will.
type sessionView struct {
	Authenticated bool                       `json:"authenticated"`
	User          map[string]json.RawMessage `json:"user,omitempty"`
	SessionID     string                     `json:"session_id,omitempty"`
	// ExpiresIn is how many seconds are left of the absolute lifetime;
	// IdleExpiresIn is how many are left if nothing more is done.
	ExpiresIn     *int64 `json:"expires_in,omitempty"`
	IdleExpiresIn *int64 `json:"idle_expires_in,omitempty"`
	AuthTime      int64  `json:"auth_time,omitempty"`
}

// sessionInfo serves GET /auth/session. Being signed out is an answer here, not
// an error; not being able to tell is one.
func (c *call) sessionInfo() error {
	s, err := c.findSession()
	if err != nil {
		if problem.CodeOf(err).Status() == http.StatusUnauthorized {
			return c.writeJSON(http.StatusOK, sessionView{})
		}
		return err
	}
	if exhausted(s) {
		return c.writeJSON(http.StatusOK, sessionView{}) // whoever is told to be signed in would be refused everywhere
	}
	now := time.Now()
	record := s.Record()
	view := sessionView{
		Authenticated: true,
		SessionID:     s.PublicID(),
		ExpiresIn:     secondsUntil(s.AbsoluteExpiry(), now),
		IdleExpiresIn: secondsUntil(s.Expires(), now),
		User:          make(map[string]json.RawMessage, len(record.Claims)+5),
	}
	if !record.AuthTime.IsZero() {
		view.AuthTime = record.AuthTime.Unix()
	}
	for name, value := range record.Claims {
		view.User[name] = value
	}
	// Ours last: no claim of an IdP can pass for them.
	view.set("sub", record.Subject)
	view.set("provider", record.Provider)
	view.set("name", record.Name)
	view.set("email", record.Email)
	return c.writeJSON(http.StatusOK, view)
}

func (v *sessionView) set(name, value string) {
	if value == "" {
		return
	}
	raw, _ := json.Marshal(value)
	v.User[name] = raw
}

func secondsUntil(t, now time.Time) *int64 {
	s := max(0, int64(t.Sub(now)/time.Second))
	return &s
}

// csrfCookieName is readable by script. What it holds is checked against the
// session when it comes back in the header, so planting it gains nothing.
const csrfCookieName = "bff_csrf"

// csrfToken serves GET /auth/csrf.
func (c *call) csrfToken() error {
	s, err := c.findSession()
	if err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, map[string]string{"csrf_token": c.giveCSRFToken(s)})
}

// giveCSRFToken mints a token for the session and sets it as a cookie too.
func (c *call) giveCSRFToken(s *session.Session) string {
	token := c.gen.CSRF.Mint(s, time.Now())
	cookie := c.gen.Settings.CSRFCookie.cookie()
	cookie.Value = token
	cookie.MaxAge = int(c.gen.Settings.CSRFCookie.Lifetime / time.Second)
	http.SetCookie(c.w, cookie)
	return token
}

func (o CSRFCookie) cookie() *http.Cookie {
	return &http.Cookie{Name: csrfCookieName, Path: "/", Domain: o.Domain, Secure: o.Secure, SameSite: o.SameSite}
}

// checkCSRF holds the tokens of a request, of which there must be exactly one,
// against the session.
func (c *call) checkCSRF(s *session.Session, tokens []string) error {
	if len(tokens) != 1 || tokens[0] == "" {
		c.gateway.metrics.CSRFViolation("missing")
		return problem.Newf(problem.CSRFFailed, "expected one CSRF token, found %d", len(tokens))
	}
	err := c.gen.CSRF.Check(s, tokens[0], time.Now())
	if err == nil {
		return nil
	}
	reason := "unknown_key"
	if errors.Is(err, seal.ErrForged) {
		reason = "invalid"
	}
	c.gateway.metrics.CSRFViolation(reason)
	return problem.New(problem.CSRFFailed, err)
}

// verify serves GET /auth/verify: is there a session, and whose. The answer is
// for the proxy in front of us, which copies the headers to the request that it
// asked for.
func (c *call) verify() error {
	s, err := c.findSession()
	if err != nil {
		return err
	}
	h := c.w.Header()
	// There is no body that a browser could show. Without these the header has as
	// many fields as a Go map holds without growing.
	delete(h, "X-Content-Type-Options")
	delete(h, "Referrer-Policy")
	delete(h, "Content-Security-Policy")
	c.who = s.Principal()
	upstream.SetIdentity(h, &c.who)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

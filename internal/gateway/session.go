package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/problem"
	"keyway/internal/seal"
	"keyway/internal/session"
)

// findSession is the session of the request's cookie.
func (c *call) findSession() (*session.Session, error) {
	ctx, done := c.step("session.load")
	s, err := c.gen.Sessions.Find(ctx, c.r.Header["Cookie"], c.sender())
	done.Fail(faultOf(err))
	done.End()
	if err != nil {
		if b, ok := errors.AsType[*session.BindingError](err); ok {
			c.gateway.metrics.BindingFailure(b.Reason)
		}
		c.tellRefused(err)
		if v, ok := errors.AsType[*session.VersionError](err); ok && v.Secret == session.SecretSalt && errors.Is(err, keyring.ErrRetired) {
			c.clearCookies() // it can't be good again, whatever happens
		}
		return nil, err
	}
	c.event.Session = s.PublicID()
	c.renewRights(s)
	return s, nil
}

// sender is who the session room may bind a session to.
func (c *call) sender() session.Client {
	return session.Client{Addr: c.client.Addr, UserAgent: c.r.UserAgent()}
}

// fresh is s with an access token that can be used, renewed if that is due.
func (c *call) fresh(s *session.Session) (*session.Session, error) {
	if c.gen.SignIn == nil || !c.gen.Sessions.Due(s) {
		return s, nil
	}
	return c.gen.Sessions.Fresh(c.r.Context(), s, c.refresher())
}

// refresher asks the IdP for new tokens. It may outlive the request, which lets go of
// its generation.
func (c *call) refresher() session.RefreshFunc {
	rp, rights, g := c.gen.SignIn, c.gen.Settings.Rights, c.gateway
	return func(ctx context.Context, record session.Record) (session.Record, error) {
		return g.refresh(ctx, rp, rights, record)
	}
}

// tellRefused reports what should have been good. What is retired is meant to be
// refused, and a CSRF token of a version that nobody has is made up; but a record,
// and the binding in it, somebody of ours has written.
func (c *call) tellRefused(err error) {
	v, ok := errors.AsType[*session.VersionError](err)
	if !ok || c.gateway.refused == nil || c.undecided(err) || errors.Is(err, keyring.ErrRetired) {
		return
	}
	if v.Secret == session.SecretSalt || v.Secret == session.SecretCSRF && session.IsUnknownVersion(err) {
		return
	}
	c.gateway.refused(v.Secret, v.Version, v.Who)
}

// mayIssue fails where something new would be issued, and must not.
func (c *call) mayIssue() error {
	if c.gateway.issue == nil || c.gateway.issue() {
		return nil
	}
	return problem.Newf(problem.KeysUnavailable, "cut off from the store for too long: other replicas may not accept what is issued here")
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
		if problem.CodeOf(err).Status() == http.StatusUnauthorized && !c.undecided(err) {
			return c.writeJSON(http.StatusOK, sessionView{})
		}
		return err
	}
	if exhausted(s) {
		return c.writeJSON(http.StatusOK, sessionView{}) // whoever is told to be signed in would be refused everywhere
	}
	c.renewCSRF(s)
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
	if err := c.mayIssue(); err != nil {
		return err
	}
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

// renewCSRF gives a page whose token is of an older version another one, before
// that version is retired and the page's next form fails. Only safe requests come
// here: nobody waits for their answer to be sent again.
func (c *call) renewCSRF(s *session.Session) {
	if (superseded(c.r.Header["X-Csrf-Token"], c.gen.CSRF) || supersededCookie(c.r.Header["Cookie"], c.gen.CSRF)) && c.mayIssue() == nil {
		c.giveCSRFToken(s)
	}
}

func superseded(tokens []string, csrf session.CSRF) bool {
	for _, token := range tokens {
		if csrf.Superseded(token) {
			return true
		}
	}
	return false
}

// supersededCookie looks for bff_csrf in the values of the Cookie header. It is on the
// way of each request, so it allocates nothing.
func supersededCookie(headers []string, csrf session.CSRF) bool {
	for _, rest := range headers {
		for rest != "" {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			name, token, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if name == csrfCookieName && csrf.Superseded(token) {
				return true
			}
		}
	}
	return false
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
	if c.undecided(err) {
		return problem.New(problem.CSRFFailed, err)
	}
	c.tellRefused(err)
	reason := "unknown_key"
	if errors.Is(err, seal.ErrForged) {
		reason = "invalid"
	}
	c.gateway.metrics.CSRFViolation(reason)
	return problem.New(problem.CSRFFailed, err)
}

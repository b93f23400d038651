package gateway

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/session"
)

// logoutWithin bounds looking a session up and ending it.
const logoutWithin = 10 * time.Second

// logout serves GET and POST /auth/logout: the session ends here, at once and on
// every replica, and then the browser is sent to end it at the IdP (OpenID
// Connect RP-Initiated Logout). A page that fetched it is told where to go
// instead.
//
// With everywhere=true in the query all sessions of the same user at the IdP end.
//
// It needs the CSRF token, or any site could sign the user out with an image; a
// GET, which can carry no header, has it in the query. And no request that
// another site caused changes a cookie, whatever it came with: a form that is
// posted from there comes without our SameSite cookies, and would otherwise be
// taken for one of somebody who is signed out already.
func (c *call) logout() error {
	c.flow = "logout"
	query, err := url.ParseQuery(c.query)
	if err != nil {
		return problem.New(problem.AmbiguousQuery, err)
	}
	everywhere, err := asksForEverywhere(query)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodPost {
		if err := c.gen.Settings.CORS.sameSite(c.r, c.client); err != nil {
			c.gateway.metrics.CSRFViolation("origin")
			return problem.New(problem.CrossOrigin, err)
		}
	}
	// A page that navigates away at once must not keep its session by that.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), logoutWithin)
	defer cancel()
	c.r = c.r.WithContext(ctx)
	s, err := c.findSession()
	if err != nil {
		if problem.CodeOf(err).Status() != http.StatusUnauthorized || c.undecided(err) {
			return err // can't know: the session may be there, and would stay
		}
		// Nobody is signed in, which is what was asked for.
		if c.hasSessionCookie() {
			c.clearCookies()
		}
		if c.r.Header.Get("Sec-Fetch-Site") == "same-origin" {
			c.clearSiteData() // what the session left behind is still there
		}
		if everywhere {
			return err // of whom, nobody can know: it was not done
		}
		return c.loggedOut(c.afterLogout())
	}
	if err := c.guardLogout(s, query); err != nil {
		return err
	}
	record := s.Record()
	ended := []session.Record{record}
	if everywhere {
		if ended, err = c.endEverywhere(ctx, s, record); err != nil {
			c.revokeAll(ended)
			return err
		}
	} else {
		if err := c.gen.Sessions.End(ctx, s); err != nil {
			return err
		}
		c.gateway.metrics.SessionDestroyed("logout")
	}
	c.clearCookies()
	c.clearSiteData()
	if c.gen.SignIn == nil {
		return c.loggedOut(c.afterLogout())
	}
	c.revokeAll(ended)
	hint := record.IDToken
	if c.wantsJSON() {
		hint = secret.Value{} // the address goes to script, and script sees no token
	}
	where, err := c.gen.SignIn.EndSessionURL(ctx, hint, c.afterLogout(), "")
	if err != nil {
		// The IdP has no such endpoint, or can't be asked. The session is over here.
		where = c.afterLogout()
	}
	return c.loggedOut(where)
}

// asksForEverywhere reads `everywhere`. What can't be understood is refused: ending
// one session may not be what was asked for.
func asksForEverywhere(query url.Values) (bool, error) {
	switch values := query["everywhere"]; {
	case len(values) == 0 || len(values) == 1 && values[0] == "false":
		return false, nil
	case len(values) == 1 && values[0] == "true":
		return true, nil
	}
	return false, problem.Newf(problem.BadRequest, "everywhere: expected true or false, once")
}

// endEverywhere ends all sessions of s's user, and s whatever is known of it besides.
func (c *call) endEverywhere(ctx context.Context, s *session.Session, record session.Record) ([]session.Record, error) {
	ended, err := c.endAll(ctx, session.Whose{Issuer: record.Issuer, Subject: record.Subject}, time.Time{}, "everywhere")
	if err != nil {
		return ended, err
	}
	if slices.ContainsFunc(ended, func(r session.Record) bool { return r.PublicID == record.PublicID }) {
		return ended, nil
	}
	if err := c.gen.Sessions.End(ctx, s); err != nil {
		return ended, err
	}
	c.gateway.metrics.SessionDestroyed("everywhere")
	return append(ended, record), nil
}

func (c *call) guardLogout(s *session.Session, query url.Values) error {
	tokens := c.r.Header["X-Csrf-Token"]
	if c.r.Method == http.MethodGet && len(tokens) == 0 {
		tokens = query["csrf"]
	}
	return c.checkCSRF(s, tokens)
}

func (c *call) hasSessionCookie() bool {
	return len(c.r.CookiesNamed(c.gen.Sessions.CookieName())) > 0
}

// afterLogout is where the browser ends up: a page of ours, as the IdP knows it.
func (c *call) afterLogout() string {
	if c.gen.SignIn != nil {
		if callback, err := c.gen.SignIn.Callback().URI(c.client.Scheme, c.client.Host); err == nil {
			if u, err := url.Parse(callback); err == nil {
				return u.Scheme + "://" + u.Host + c.gen.Settings.PostLogoutPath
			}
		}
	}
	return c.gen.Settings.PostLogoutPath
}

func (c *call) clearCookies() {
	http.SetCookie(c.w, c.gen.Sessions.ClearCookie())
	csrf := c.gen.Settings.CSRFCookie.cookie()
	csrf.MaxAge = -1
	http.SetCookie(c.w, csrf)
}

// loggedOut sends the browser on. A script's fetch can't follow a redirect to
// another origin, so it gets the address.
func (c *call) loggedOut(where string) error {
	if c.wantsJSON() {
		return c.writeJSON(http.StatusOK, map[string]string{"logout_url": where})
	}
	return c.redirect(where)
}

func (c *call) wantsJSON() bool {
	return strings.Contains(c.r.Header.Get("Accept"), "application/json")
}

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"keyway/internal/dpop"
	"keyway/internal/limit"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/session"
	"keyway/internal/telemetry/trace"
)

// login serves GET /auth/login: it sends the browser to the IdP.
func (c *call) login() error {
	rp := c.gen.SignIn
	if rp == nil {
		return problem.Newf(problem.NotFound, "no identity provider is configured (OIDC_ISSUER)")
	}
	if err := c.mayIssue(); err != nil {
		return err
	}
	c.flow = "login"
	if err := c.take(limit.SignIn); err != nil {
		return err
	}
	query, err := url.ParseQuery(c.query)
	if err != nil {
		return problem.New(problem.AmbiguousQuery, err)
	}
	if len(query["return_to"]) > 1 {
		return problem.Newf(problem.BadRequest, "return_to occurs twice")
	}
	redirectURI, err := rp.Callback().URI(c.client.Scheme, c.client.Host)
	if err != nil {
		return err
	}
	signIn, err := rp.Begin(c.r.Context(), oidc.SignInRequest{
		ReturnTo: query.Get("return_to"), RedirectURI: redirectURI, Params: query,
	})
	if err != nil {
		return err
	}
	for _, name := range rp.Cookies().Surplus(c.cookieNames(), time.Now()) {
		http.SetCookie(c.w, rp.Cookies().Clear(name))
	}
	http.SetCookie(c.w, signIn.Cookie)
	return c.redirect(signIn.URL)
}

// callback serves GET /auth/callback, to which the IdP sends the browser back.
func (c *call) callback() error {
	rp := c.gen.SignIn
	if rp == nil {
		return problem.New(problem.NotFound, nil)
	}
	if err := c.mayIssue(); err != nil {
		return err
	}
	c.flow = "callback"
	if err := c.take(limit.Callback); err != nil {
		return err
	}
	// A browser whose user clicks twice drops the first request, whose answer would
	// have had the cookie, and can't use the code again. So equal requests of one
	// browser share one answer, and it is worked out whoever hangs up.
	key := c.query + "\x00" + c.loginCookies()
	var done finished
	for mine := false; ; {
		shared, _, _ := c.gateway.callbacks.Do(key, func() (any, error) {
			mine = true
			return c.finishSignIn(), nil
		})
		// Whoever lacked a version may have had an older generation than we have.
		if done = shared.(finished); mine || !session.IsUnknownVersion(done.err) {
			break
		}
	}
	if done.clear != nil {
		http.SetCookie(c.w, done.clear)
	}
	if errors.Is(done.err, oidc.ErrAlreadyUsed) {
		// The first time counts: if it led to a session, that is where the user
		// wanted to be.
		_, err := c.findSession()
		if err == nil {
			return c.land(done.returnTo)
		}
		if c.undecided(err) {
			return err
		}
	}
	if done.err != nil {
		return done.err
	}
	c.gen = c.gateway.current() // as for the session, see finishSignIn
	c.event.Session = done.session.PublicID()
	http.SetCookie(c.w, done.cookie)
	c.giveCSRFToken(done.session)
	return c.land(done.returnTo)
}

// finished is how a callback ended.
type finished struct {
	returnTo string
	clear    *http.Cookie // of the sign-in, if that is over
	cookie   *http.Cookie // of the session
	session  *session.Session
	err      error
}

// callbackWithin bounds what a callback asks of the IdP and the store.
const callbackWithin = 45 * time.Second

func (c *call) finishSignIn() finished {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), callbackWithin)
	defer cancel()
	// The session that this browser has is ended by the sign-in, so it must be clear
	// which one that is before the code, which is good once, is used up.
	if err := c.gen.Sessions.Knows(c.r.Header["Cookie"]); c.undecided(err) {
		return finished{err: err}
	}
	rp := c.gen.SignIn
	grant, err := rp.Finish(ctx, oidc.CallbackRequest{Params: c.query, Cookie: c.cookie})
	done := finished{returnTo: grant.ReturnTo, err: err}
	if grant.Cookie != "" {
		done.clear = rp.Cookies().Clear(grant.Cookie)
	}
	if err != nil {
		return done
	}
	record := newRecord(&c.gen.Settings, grant)
	// The IdP took its time. What is issued now must be issued with what is active now.
	now := c.gateway.current()
	if done.cookie, done.session, done.err = now.Sessions.Renew(ctx, c.r.Header["Cookie"], record, c.sender()); done.err == nil {
		c.gateway.metrics.SessionCreated()
	}
	return done
}

// Bounds of a form that is posted to one of our own endpoints.
const (
	maxForm    = 64 << 10
	formWithin = 10 * time.Second
)

// callbackForm serves POST /auth/callback (OAuth 2.0 form post response mode). A
// form that another site posts comes without our SameSite cookies, so the
// browser is sent to fetch the same callback itself, and then has them.
func (c *call) callbackForm() error {
	form, err := c.readForm()
	if err != nil {
		return err
	}
	return c.redirect("/auth/callback?" + form)
}

// readForm is the body of a form post, as it was sent. What parses it knows what
// to refuse; here it must only be fit for a header.
func (c *call) readForm() (string, error) {
	if kind, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return "", problem.Newf(problem.BadRequest, "expected a form")
	}
	// A client that sends it a byte at a time must not hold on to us for ever.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(formWithin))
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxForm))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return "", problem.New(problem.TooLarge, err)
	}
	if err != nil {
		return "", problem.Newf(problem.BadRequest, "the form could not be read: %w", err)
	}
	for _, b := range body {
		if b <= ' ' || b >= 0x7f || b == '#' {
			return "", problem.Newf(problem.BadRequest, "the form is not URL-encoded")
		}
	}
	return string(body), nil
}

// newRecord is what is kept of a sign-in.
func newRecord(settings *Settings, grant oidc.Grant) session.Record {
	roles, permissions := settings.Rights.of(grant)
	claims := shownClaims(grant)
	return session.Record{
		Provider:     settings.Provider,
		Issuer:       grant.Claims.Issuer,
		Subject:      grant.Claims.Subject,
		SID:          grant.Claims.SessionID,
		Email:        text(grant, "email"),
		Name:         text(grant, "name"),
		Roles:        roles,
		Permissions:  permissions,
		Claims:       claims,
		AccessToken:  grant.Tokens.AccessToken,
		AccessExpiry: grant.Tokens.Expiry,
		RefreshToken: grant.Tokens.RefreshToken,
		IDToken:      grant.Tokens.IDToken,
		TokenType:    tokenType(grant.Tokens),
		TokenKey:     grant.Tokens.Key,
		Scope:        strings.Join(grant.Tokens.Scopes, " "),
		GrantedAt:    time.Now(),
		AuthTime:     orNow(grant.Claims.AuthTime),
		IssuedAt:     grant.Claims.IssuedAt,
		BegunAt:      grant.BegunAt,
	}
}

func tokenType(t oidc.Tokens) string {
	if t.Key != "" {
		return dpop.Scheme
	}
	return "Bearer"
}

// orNow: an IdP that does not say when the user signed in did it just now, as far
// as anybody can tell.
func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

// shownToPages are the claims of OpenID Connect Core 5.1 that a page may show.
// Everything else that an IdP puts into a token stays on the server.
var shownToPages = []string{
	"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username",
	"picture", "website", "email", "email_verified", "gender", "zoneinfo", "locale", "updated_at", "roles", "groups",
}

// maxShownClaim bounds one claim, in bytes of JSON: a picture that is a data URL
// does not belong in a session.
const maxShownClaim = 2048

func shownClaims(grant oidc.Grant) map[string]json.RawMessage {
	shown := map[string]json.RawMessage{}
	for _, name := range shownToPages {
		value, ok := claim(grant, name)
		if !ok {
			continue
		}
		if raw, err := json.Marshal(value); err == nil && len(raw) <= maxShownClaim {
			shown[name] = raw
		}
	}
	return shown
}

// claim looks in the ID token first, which is signed, and then in UserInfo.
func claim(grant oidc.Grant, name string) (any, bool) {
	if value, ok := grant.Claims.All[name]; ok {
		return value, true
	}
	value, ok := grant.UserInfo[name]
	return value, ok
}

func text(grant oidc.Grant, name string) string {
	value, _ := claim(grant, name)
	s, _ := value.(string)
	return s
}

// refresh is how the session room asks the IdP for new tokens.
func (g *Gateway) refresh(ctx context.Context, rp *oidc.RelyingParty, rights Rights, record session.Record) (session.Record, error) {
	started := time.Now()
	ctx, span := trace.Internal(ctx, "session.refresh")
	defer span.End()
	answer, err := rp.Refresh(ctx, oidc.RefreshRequest{RefreshToken: record.RefreshToken, Subject: record.Subject})
	g.metrics.Flow("refresh", time.Since(started))
	span.Fail(refreshFault(err))
	switch {
	case errors.Is(err, oidc.ErrGrantGone):
		g.metrics.TokenRefresh("session", "grant_gone")
		g.metrics.SessionDestroyed("grant_gone")
		return record, errors.Join(session.ErrGrantGone, err)
	case errors.Is(err, oidc.ErrUnavailable):
		g.metrics.TokenRefresh("session", "unavailable")
		return record, err
	case err != nil:
		g.metrics.TokenRefresh("session", "failed")
		return record, err
	}
	g.metrics.TokenRefresh("session", "ok")
	record = rights.refreshed(ctx, rp, answer, record)
	if !record.RightsMissed.IsZero() {
		g.missedRights(record.RightsMissed)
	}
	tokens := answer.Tokens
	record.AccessToken = tokens.AccessToken
	record.AccessExpiry = tokens.Expiry
	record.TokenType, record.TokenKey = tokenType(tokens), tokens.Key
	record.GrantedAt = time.Now()
	if !tokens.RefreshToken.IsZero() {
		record.RefreshToken = tokens.RefreshToken
	}
	if !tokens.IDToken.IsZero() {
		record.IDToken = tokens.IDToken
	}
	if tokens.Scopes != nil {
		record.Scope = strings.Join(tokens.Scopes, " ")
	}
	return record, nil
}

// cookie finds a cookie by name, if there is exactly one.
func (c *call) cookie(name string) (string, bool) {
	found := c.r.CookiesNamed(name)
	if len(found) != 1 {
		return "", false
	}
	return found[0].Value, true
}

// loginCookies are the cookies that a sign-in left in this browser, and none of
// those that come and go beside them.
func (c *call) loginCookies() string {
	var b strings.Builder
	for _, cookie := range c.r.Cookies() {
		if strings.Contains(cookie.Name, "bff_login_") {
			b.WriteString(cookie.Name + "=" + cookie.Value + ";")
		}
	}
	return b.String()
}

func (c *call) cookieNames() []string {
	var names []string
	for _, cookie := range c.r.Cookies() {
		names = append(names, cookie.Name)
	}
	return names
}

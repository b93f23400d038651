package app

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/admin"
	"keyway/internal/config"
	"keyway/internal/oidc"
)

// consoleSignIn lets people into the console who have the role at the provider that
// users sign in at. It is a relying party of its own there: the same client, another
// callback. The tokens that it gets are read once, and kept nowhere.
type consoleSignIn struct {
	a      *app
	at     *url.URL // origin by which browsers reach the console
	role   string
	claim  string // dots go into objects
	secure bool
}

// consoleSignIn is nil when no role is configured.
func (a *app) consoleSignIn() admin.SignIn {
	c := a.config.Admin
	if c.Role == "" || a.resources.provider == nil {
		return nil
	}
	at := c.PublicURL
	if at == nil {
		at = &url.URL{Scheme: "http", Host: c.Addr}
	}
	return consoleSignIn{a: a, at: at, role: c.Role, claim: c.RoleClaim, secure: at.Scheme == "https"}
}

func (s consoleSignIn) callback() string { return s.at.Scheme + "://" + s.at.Host + admin.CallbackPath }

// relyingParty is made for each use, of what is in use now.
func (s consoleSignIn) relyingParty() (*oidc.RelyingParty, error) {
	now, r, c := s.a.current.Load(), &s.a.resources, s.a.config
	return oidc.New(oidc.Options{
		Provider: r.provider,
		Client:   now.clients[signIn],
		StateKey: now.rings[nameStateKey],
		Meter:    r.meter,
		OneTime:  oneTime{r.store},
		Scopes:   c.OIDC.Scopes,
		Callback: oidc.Callback{Static: s.callback()},
		Cookies:  oidc.CookiePolicy{Secure: s.secure},
		PAR:      parMode(c.OIDC.PAR),
		JAR:      jarMode(c.OIDC.JAR),
		JARM:     c.OIDC.JARM == config.SwitchOn,
	})
}

// Begin implements admin.SignIn. Cookies are of one host, so whoever came by another
// name of this machine goes by the one of the callback first.
func (s consoleSignIn) Begin(w http.ResponseWriter, r *http.Request) error {
	if !strings.EqualFold(r.Host, s.at.Host) && r.URL.Query().Get("by") == "" {
		redirect(w, s.at.Scheme+"://"+s.at.Host+r.URL.Path+"?by=name")
		return nil
	}
	rp, err := s.relyingParty()
	if err != nil {
		return err
	}
	begun, err := rp.Begin(r.Context(), oidc.SignInRequest{ReturnTo: "/", RedirectURI: s.callback()})
	if err != nil {
		return err
	}
	var names []string
	for _, cookie := range r.Cookies() {
		names = append(names, cookie.Name)
	}
	for _, name := range rp.Cookies().Surplus(names, time.Now()) {
		http.SetCookie(w, rp.Cookies().Clear(name))
	}
	http.SetCookie(w, begun.Cookie)
	redirect(w, begun.URL)
	return nil
}

func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// Finish implements admin.SignIn.
func (s consoleSignIn) Finish(w http.ResponseWriter, r *http.Request) (admin.Person, error) {
	rp, err := s.relyingParty()
	if err != nil {
		return admin.Person{}, err
	}
	// Whoever hangs up has used up the code all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 20*time.Second)
	defer cancel()
	grant, err := rp.Finish(ctx, oidc.CallbackRequest{Params: r.URL.RawQuery, Cookie: func(name string) (string, bool) {
		cookie, err := r.Cookie(name)
		if err != nil {
			return "", false
		}
		return cookie.Value, true
	}})
	if grant.Cookie != "" {
		http.SetCookie(w, rp.Cookies().Clear(grant.Cookie))
	}
	if err != nil {
		return admin.Person{}, &admin.SignInError{Cause: err}
	}
	// The site and the console share cookies' names and keys, and on one host the
	// cookies, too. What was begun at the site, by anybody's link, is not for here.
	if grant.RedirectURI != s.callback() {
		return admin.Person{}, &admin.SignInError{Cause: errNotTheConsole}
	}
	person := admin.Person{Subject: grant.Claims.Subject, Name: nameOf(grant)}
	// UserInfo is of the same subject: the relying party has seen to that.
	if !hasRole(grant.Claims.All, s.claim, s.role) && !hasRole(grant.UserInfo, s.claim, s.role) {
		return person, &admin.ForbiddenError{
			Why:  "you are signed in as " + firstOf(person.Name, person.Subject) + ", and lack the role " + s.role,
			Cure: "Ask for the role " + s.role + " (claim " + s.claim + ") at the identity provider, and sign in again.",
		}
	}
	return person, nil
}

func nameOf(grant oidc.Grant) string {
	for _, claims := range []map[string]any{grant.Claims.All, grant.UserInfo} {
		for _, claim := range []string{"preferred_username", "email", "name"} {
			if text, _ := claims[claim].(string); text != "" && len(text) <= 128 {
				return text
			}
		}
	}
	return ""
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// hasRole looks for a role in a claim: a list of texts, or a text of words between
// spaces. A claim whose own name has dots is found as that first.
func hasRole(claims map[string]any, claim, role string) bool {
	value, ok := claims[claim]
	if !ok {
		first, rest, deeper := strings.Cut(claim, ".")
		within, _ := claims[first].(map[string]any)
		return deeper && within != nil && hasRole(within, rest, role)
	}
	switch roles := value.(type) {
	case string:
		return slices.Contains(strings.Fields(roles), role)
	case []any:
		return slices.ContainsFunc(roles, func(one any) bool { text, _ := one.(string); return text == role })
	}
	return false
}

var errNotTheConsole = errors.New("the sign-in was not begun at the console")

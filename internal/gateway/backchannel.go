package gateway

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/limit"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/session"
)

// backchannelLogout serves POST /auth/backchannel-logout, to which the IdP posts a
// logout token when a user signs out there (OpenID Connect Back-Channel Logout 1.0
// section 2.5). What it names ends on every replica.
//
// No cookie counts here and no CSRF token is needed: who is meant is in the token,
// and the IdP's signature says that it is meant. Somebody who is not signed in here
// is signed out already, so that is 200, too (section 2.8).
func (c *call) backchannelLogout() error {
	rp := c.gen.SignIn
	if rp == nil {
		return problem.New(problem.NotFound, nil)
	}
	if err := c.take(limit.BackchannelLogout); err != nil {
		return err
	}
	token, err := c.readLogoutToken()
	if err != nil {
		return err
	}
	// IdPs hang up after a few seconds, and few of them try again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), logoutWithin)
	defer cancel()
	t, err := rp.LogoutToken(ctx, token)
	if err != nil {
		return err
	}
	if err := rp.ClaimLogout(ctx, t); err != nil {
		return err
	}
	ended, err := c.endAll(ctx, session.Whose{Issuer: t.Issuer, Subject: t.Subject, SID: t.SessionID}, t.IssuedAt, "backchannel_logout")
	if err != nil {
		// Not done: the same token must be good for another try.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unclaimWithin)
		defer cancel()
		if failed := rp.UnclaimLogout(ctx, t); failed != nil {
			c.gateway.log.Warn("a logout token that could not be obeyed counts as used", "correlation_id", c.id, "error", failed.Error())
		}
		return err
	}
	c.gateway.log.Info("the identity provider signed somebody out", "correlation_id", c.id, "by", byWhat(t), "ended", len(ended))
	// Section 2.7: those of offline_access are meant to outlive the session there.
	c.revokeAll(slices.DeleteFunc(ended, func(r session.Record) bool {
		return slices.Contains(strings.Fields(r.Scope), "offline_access")
	}))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// unclaimWithin bounds taking a claim back, on a store that has just failed.
const unclaimWithin = 2 * time.Second

func byWhat(t oidc.LogoutToken) string {
	switch {
	case t.SessionID == "":
		return "sub"
	case t.Subject == "":
		return "sid"
	}
	return "sub and sid"
}

// readLogoutToken is the one logout_token of a form. Other parameters are ignored
// (section 2.5). A body that can't be read is a 400 whatever is wrong with it
// (section 2.8).
func (c *call) readLogoutToken() (string, error) {
	raw, err := c.readForm()
	if err != nil {
		return "", problem.New(problem.BadRequest, err)
	}
	form, err := url.ParseQuery(raw)
	if err != nil {
		return "", problem.Newf(problem.BadRequest, "the form can't be read")
	}
	tokens := form["logout_token"]
	if len(tokens) != 1 || tokens[0] == "" {
		return "", problem.Newf(problem.BadRequest, "expected one logout_token, found %d", len(tokens))
	}
	return tokens[0], nil
}

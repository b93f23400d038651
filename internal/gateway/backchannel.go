package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
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
	// IdPs hang up after a few seconds, and few of them try again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), logoutWithin)
	defer cancel()
	t, err := c.provenLogout(ctx, rp)
	if err != nil {
		if problem.CodeOf(err).Status() < http.StatusInternalServerError || unknownKey(err) {
			if over := c.take(limit.BackchannelLogout); over != nil {
				return over
			}
		}
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

// provenLogout is what the request's token says, if it is the IdP's word and was not
// heard before.
//
// Only what is refused counts for the rate, or names a key that nobody knows, and what the IdP signed is obeyed however
// much came from its address: an IdP in the cloud shares that with other customers'
// tokens, a proxy that we don't know with everybody's, and signs out a whole company
// at once. What that leaves to a flood is a signature to check for each token: keys are
// fetched once in a cool-down, whoever asks.
func (c *call) provenLogout(ctx context.Context, rp *oidc.RelyingParty) (oidc.LogoutToken, error) {
	token, err := c.readLogoutToken()
	if err != nil {
		return oidc.LogoutToken{}, err
	}
	t, err := rp.LogoutToken(ctx, token)
	if err != nil {
		return oidc.LogoutToken{}, err
	}
	return t, rp.ClaimLogout(ctx, t)
}

// unknownKey reports whether err is that a token names a key that is not known, while it
// is too soon to look for it. Nobody can say then whether it is refused; but anybody
// can send such a token, so it counts as one.
func unknownKey(err error) bool {
	_, ok := errors.AsType[*jwks.CoolDownError](err)
	return ok
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

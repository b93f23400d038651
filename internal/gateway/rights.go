package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"time"

	"keyway/internal/bearer"
	"keyway/internal/jwks"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/secret"
	"keyway/internal/session"
)

// Rights are where roles and permissions are in what the IdP says of who signs in. The
// zero Rights find none.
type Rights struct {
	Roles, Permissions []bearer.Claim
}

// infoAtRefresh bounds asking UserInfo at a refresh: the new tokens are in our hands
// alone by then, and who waits for them has a deadline.
const infoAtRefresh = 2 * time.Second

func (r *Rights) none() bool { return len(r.Roles) == 0 && len(r.Permissions) == 0 }

// of reads them, in the ID token first, which is signed, and then in UserInfo.
func (r *Rights) of(grant oidc.Grant) (roles, permissions []string) {
	if r.none() {
		return nil, nil
	}
	all := maps.Clone(grant.UserInfo)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, grant.Claims.All)
	return bearer.Pick(all, r.Roles), bearer.Pick(all, r.Permissions)
}

// rightsAgain is when tokens are renewed whose ID token could not be verified, and would
// have said what the user may do: keys are looked for again by then. If that goes on,
// it is after as long again, up to rightsSeldom.
const (
	rightsAgain  = 15 * time.Second
	rightsSeldom = 5 * time.Minute
)

// refreshed has a record say what the IdP says after a refresh: who has lost a role
// there loses it here. UserInfo is asked again, where it was at the sign-in, as most
// providers have it there. What nobody says anything about stays as it is; what nobody
// could be asked about does, too, and the record says since when.
func (r *Rights) refreshed(ctx context.Context, rp *oidc.RelyingParty, answer oidc.Refreshed, record session.Record) session.Record {
	missed := cmp.Or(record.RightsMissed, time.Now())
	record.RightsMissed, record.RefreshBy = time.Time{}, time.Time{}
	if r.none() {
		return record
	}
	said := claimsIn(record.IDToken)
	switch {
	case answer.Claims != nil:
		said = answer.Claims.All
	case answer.Unproved && r.in(said):
		record.RightsMissed, record.RefreshBy = missed, time.Now().Add(min(max(time.Since(missed), rightsAgain), rightsSeldom))
		return record
	}
	info, asked, err := r.ask(ctx, rp, answer.Tokens, record.Subject)
	switch {
	case err != nil:
		r.missed(&record, said, missed)
	case asked || answer.Claims != nil:
		r.learned(&record, oidc.Grant{Claims: oidc.IDTokenClaims{All: said}, UserInfo: info})
	}
	return record
}

// learn has a record say what UserInfo says now, by the access token that it has.
func (r *Rights) learn(ctx context.Context, rp *oidc.RelyingParty, record session.Record) (session.Record, error) {
	tokens := oidc.Tokens{AccessToken: record.AccessToken, Key: record.TokenKey}
	if record.Scope != "" {
		tokens.Scopes = strings.Fields(record.Scope)
	}
	info, asked, err := r.ask(ctx, rp, tokens, record.Subject)
	switch {
	case err != nil:
		return record, err
	case asked && !r.none():
		r.learned(&record, oidc.Grant{Claims: oidc.IDTokenClaims{All: claimsIn(record.IDToken)}, UserInfo: info})
	}
	record.RightsMissed = time.Time{} // else there is nobody to ask any more
	return record, nil
}

func (r *Rights) ask(ctx context.Context, rp *oidc.RelyingParty, tokens oidc.Tokens, subject string) (info map[string]any, asked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, infoAtRefresh)
	defer cancel()
	return rp.UserInfo(ctx, tokens, subject)
}

func (r *Rights) learned(record *session.Record, grant oidc.Grant) {
	record.Roles, record.Permissions = r.of(grant)
	record.Claims = shownClaims(grant)
}

// missed takes what the ID token says alone; the rest is where nobody could look.
func (r *Rights) missed(record *session.Record, said map[string]any, since time.Time) {
	if bearer.Has(said, r.Roles) {
		record.Roles = bearer.Pick(said, r.Roles)
	} else if len(r.Roles) > 0 {
		record.RightsMissed = since
	}
	if bearer.Has(said, r.Permissions) {
		record.Permissions = bearer.Pick(said, r.Permissions)
	} else if len(r.Permissions) > 0 {
		record.RightsMissed = since
	}
}

// renewRights has what the last refresh missed learned, beside the request.
func (c *call) renewRights(s *session.Session) {
	if !s.RightsMissed() || c.gen.SignIn == nil {
		return
	}
	rp, rights, g := c.gen.SignIn, c.gen.Settings.Rights, c.gateway
	c.gen.Sessions.RenewRights(c.r.Context(), s, c.refresher(), func(ctx context.Context, record session.Record) (session.Record, error) {
		return g.learn(ctx, rp, rights, record)
	})
}

func (g *Gateway) learn(ctx context.Context, rp *oidc.RelyingParty, rights Rights, record session.Record) (session.Record, error) {
	record, err := rights.learn(ctx, rp, record)
	if err != nil {
		g.missedRights(record.RightsMissed)
		return record, err
	}
	g.metrics.TokenRefresh("rights", "ok")
	return record, nil
}

// withRights is s with the rights that a decision point is told of, where no access token
// is needed that would have had them read again. Hardly anybody waits for that: see
// [session.Manager.FreshRights].
func (c *call) withRights(s *session.Session) (*session.Session, error) {
	if c.rightsDontMatter() || !c.gen.Sessions.Due(s) {
		return s, nil
	}
	return c.gen.Sessions.FreshRights(c.r.Context(), s, c.refresher())
}

// rightsDontMatter is where nothing is decided, or nothing by what an IdP says.
func (c *call) rightsDontMatter() bool {
	return c.gen.Settings.AuthzDisabled || c.gen.SignIn == nil || c.gen.Settings.Rights.none()
}

// rightsKnown fails where something is to be decided for somebody of whom nobody has
// been able to say for too long what they may do. Without roles a decision point may
// deny, or, by a policy that forbids something to a role, allow: so it is not asked.
func (c *call) rightsKnown(s *session.Session) error {
	if c.rightsDontMatter() || !s.RightsLapsed(time.Now()) {
		return nil
	}
	return problem.Newf(problem.IdPUnavailable, "what the user may do has not been learned for more than %v", session.RightsFor)
}

// decidable is c.who as somebody who can be decided about although no rights of his are
// known, where they don't matter.
func (c *call) decidable() {
	c.who.RightsLapsed = c.who.RightsLapsed && !c.rightsDontMatter()
}

// keepRights is for a stream that is decided about, whose user may do nothing else for
// hours. It keeps no generation.
func (c *call) keepRights() session.Keep {
	if c.rightsDontMatter() {
		return session.Keep{}
	}
	g := c.gateway
	byNow := func(do func(context.Context, *oidc.RelyingParty, Rights, session.Record) (session.Record, error)) session.RefreshFunc {
		return func(ctx context.Context, record session.Record) (session.Record, error) {
			gen := g.current()
			if gen.SignIn == nil {
				return record, errors.New("gateway: there is no identity provider any more")
			}
			return do(ctx, gen.SignIn, gen.Settings.Rights, record)
		}
	}
	return session.Keep{Refresh: byNow(g.refresh), Learn: byNow(g.learn)}
}

// decides reports whether what a route is asked for is decided about.
func decides(r *route.Route) bool { return r != nil && r.Authz != route.AuthzNone && r.Authz != "" }

// missedRights counts that rights could not be learned, and says it once a minute.
func (g *Gateway) missedRights(since time.Time) {
	g.metrics.TokenRefresh("rights", "unavailable")
	now, next := time.Now(), g.missed.Load()
	if now.UnixNano() >= next && g.missed.CompareAndSwap(next, now.Add(noteEvery).UnixNano()) {
		g.log.Warn("what users may do could not be learned at a refresh; what is known goes on to count for a while", "since", since, "for", session.RightsFor)
	}
}

// in reports whether claims say anything about what somebody may.
func (r *Rights) in(claims map[string]any) bool {
	return bearer.Has(claims, r.Roles) || bearer.Has(claims, r.Permissions)
}

// claimsIn are the claims of an ID token that was verified when it came; nil: they
// can't be read.
func claimsIn(token secret.Value) map[string]any {
	parts := bytes.Split(token.Reveal(), []byte("."))
	if len(parts) != 3 {
		return nil
	}
	payload, err := base64.RawURLEncoding.AppendDecode(nil, parts[1])
	claims := map[string]any{}
	if err != nil || jwks.DecodeObject(payload, &claims) != nil {
		return nil
	}
	return claims
}

package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"maps"
	"time"

	"keyway/internal/bearer"
	"keyway/internal/jwks"
	"keyway/internal/oidc"
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

// refreshed has a record say what the IdP says after a refresh: who has lost a role
// there loses it here. UserInfo is asked again, where it was at the sign-in, as most
// providers have it there. What nobody says anything about stays as it is.
func (r *Rights) refreshed(ctx context.Context, rp *oidc.RelyingParty, answer oidc.Refreshed, record session.Record) session.Record {
	if r.none() {
		return record
	}
	var grant oidc.Grant
	asking, cancel := context.WithTimeout(ctx, infoAtRefresh)
	defer cancel()
	info, asked, err := rp.UserInfo(asking, answer.Tokens, record.Subject)
	switch {
	case answer.Claims != nil:
		grant.Claims.All = answer.Claims.All
	case asked && err == nil:
		grant.Claims.All = claimsIn(record.IDToken)
	default:
		return record
	}
	if err != nil && !r.in(grant.Claims.All) {
		return record // it is where nobody could look
	}
	grant.UserInfo = info
	record.Roles, record.Permissions = r.of(grant)
	if err == nil {
		record.Claims = shownClaims(grant)
	}
	return record
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

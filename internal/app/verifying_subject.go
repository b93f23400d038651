package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"keyway/internal/bearer"
	"keyway/internal/config"
	"keyway/internal/dpop"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/verify"
)

// signInPeer is the name of the provider that users sign in at, in ids of checks: that
// of an entry of idps.yaml may be the alias, too.
const signInPeer = "sign-in"

// verifiedPeers are the providers, with our clients there.
func (a *app) verifiedPeers(now *served) []verify.Peer {
	var all []verify.Peer
	add := func(peer, name, id string, ends time.Time, audience bool) {
		provider := a.resources.peers[peer]
		p := verify.Peer{Name: name, Issuer: provider.Issuer(), ClientID: id, Metadata: provider.Metadata, Client: now.clients[peer], Ends: ends}
		for _, k := range clients(a.config) {
			if k.peer != peer {
				continue
			}
			p.Secret, p.Signs = k.secret, k.signs(now.rings)
			if p.Signs {
				p.Secret = nameSigningKey
			}
			p.Chosen = k.chosen(a.config, now.rings, now.clients[peer], provider.Known())
			if audience {
				ask := bearer.Introspection(provider, now.clients[peer], bearer.FormAuto)
				p.Introspect = func(ctx context.Context, token string) ([]byte, error) {
					return ask(ctx, secret.NewValue([]byte(token)))
				}
			}
		}
		all = append(all, p)
	}
	c := a.config
	if a.resources.provider != nil {
		add(signIn, signInPeer, c.OIDC.ClientID, c.OIDC.ClientSecretExpiresAt, false)
	}
	for _, idp := range c.IdPs {
		add(idp.Name, idp.Name, idp.ClientID, idp.ClientSecretExpiresAt, len(idp.Audience) > 0)
	}
	return all
}

func (a *app) verifiedSignIn(now *served) *verify.SignIn {
	rp := now.generation.SignIn
	if rp == nil {
		return nil
	}
	return &verify.SignIn{
		Peer: signInPeer, Callbacks: callbacks(a.config.Callback),
		Begin: func(ctx context.Context, callback string) (string, error) {
			begun, err := rp.Begin(ctx, oidc.SignInRequest{ReturnTo: "/", RedirectURI: callback})
			return begun.URL, err
		},
	}
}

// verifiedBearer is who checks presented tokens, and where a real one is had: by
// client credentials of our own at the provider that users sign in at, if one of the
// entries is of that issuer.
func (a *app) verifiedBearer(now *served, s *verify.Subject) {
	if now.generation.Bearer == nil {
		return
	}
	s.Bearer = func(ctx context.Context, token string) verify.Presented {
		_, _, err := now.generation.Bearer.Authenticate(ctx, []string{"Bearer " + token}, bearer.Need{})
		switch {
		case err == nil:
			return verify.Accepted
		case problem.CodeOf(err).Status() < 500:
			return verify.Refused
		}
		return verify.Unknown
	}
	at := slices.IndexFunc(a.config.IdPs, func(idp config.IdP) bool { return len(idp.Audience) > 0 && idp.Issuer == a.config.OIDC.Issuer })
	if rp := now.generation.SignIn; rp != nil && at >= 0 && now.proofs == nil { // a bound token is none that others may present
		audience := a.config.IdPs[at].Audience[0]
		scopes := scopesFor(a.config.Routes, audience)
		s.Fresh = func(ctx context.Context) (string, error) {
			tokens, err := rp.ClientCredentials(ctx, audience, scopes)
			if err != nil {
				return "", err
			}
			return string(tokens.AccessToken.Reveal()), nil
		}
	}
}

// scopesFor are those of a service token for that audience, if a route has one.
func scopesFor(routes *route.Table, audience string) []string {
	for _, r := range routes.Routes() {
		if r.TokenPolicy.Mode == route.TokenService && r.TokenPolicy.Audience == audience {
			return r.TokenPolicy.Scopes
		}
	}
	return nil
}

// seals are the ways in which our own secrets are used.
func (a *app) seals() []verify.Seal {
	lifetime := a.config.Session.Lifetime
	const throwAway = "a check's throw-away artefact"
	sealer := func(purpose string) func(keyring.Ring) (func(keyring.Ring) error, error) {
		return func(ring keyring.Ring) (func(keyring.Ring) error, error) {
			by, err := seal.NewSealer(ring, purpose)
			if err != nil {
				return nil, err
			}
			sealed := by.Seal([]byte(throwAway), []byte(throwAway))
			return func(ring keyring.Ring) error {
				opener, err := seal.NewSealer(ring, purpose)
				if err != nil {
					return err
				}
				_, err = opener.Open(sealed, []byte(throwAway))
				return err
			}, nil
		}
	}
	hasher := func(purpose string) func(keyring.Ring) (func(keyring.Ring) error, error) {
		return func(ring keyring.Ring) (func(keyring.Ring) error, error) {
			by, err := seal.NewHasher(ring, purpose)
			if err != nil {
				return nil, err
			}
			version := by.ActiveVersion()
			sum, err := by.Sum(version, []byte(throwAway))
			return func(ring keyring.Ring) error {
				again, err := seal.NewHasher(ring, purpose)
				if err != nil {
					return err
				}
				same, err := again.Equal(version, []byte(throwAway), sum[:])
				if err == nil && !same {
					err = seal.ErrForged
				}
				return err
			}, err
		}
	}
	tokens := func(ring keyring.Ring) (func(keyring.Ring) error, error) {
		by, err := seal.NewTokens(ring, session.PurposeCSRF, lifetime)
		if err != nil {
			return nil, err
		}
		token := by.Mint(throwAway, time.Now())
		return func(ring keyring.Ring) error {
			checker, err := seal.NewTokens(ring, session.PurposeCSRF, lifetime)
			if err != nil {
				return err
			}
			return checker.Check(token, throwAway, time.Now())
		}, nil
	}
	proofs := func(ring keyring.Ring) (func(keyring.Ring) error, error) {
		by, err := dpop.New(ring, nil)
		if err != nil {
			return nil, err
		}
		version := by.Active()
		proof, err := by.Prove(dpop.Request{Version: version, Method: "GET", URL: "https://invalid.invalid/"})
		return func(ring keyring.Ring) error {
			if _, err := ring.Lookup(version); err != nil {
				return err
			}
			jkt, err := dpop.Check(proof)
			if err == nil && jkt != version {
				err = fmt.Errorf("the proof is by the key %s", jkt)
			}
			return err
		}, err
	}
	all := []verify.Seal{
		{Secret: nameSessionKey, What: "session records", Issue: sealer(session.PurposeRecord)},
		{Secret: nameTokenHashSalt, What: "session ids", Issue: hasher(session.PurposeSalt)},
		{Secret: nameUAHashSalt, What: "session binding", Issue: hasher(session.PurposeUA)},
		{Secret: nameCSRFKey, What: "CSRF tokens", Issue: tokens},
		{Secret: nameStateKey, What: "state of sign-ins", Issue: sealer("login state")},
	}
	if bindsTokens(a.config) {
		all = append(all, verify.Seal{Secret: nameDPoPKey, What: "proofs for tokens", Issue: proofs})
	}
	return all
}

// verifiedTurning is what waits, and what should have ended.
func (a *app) verifiedTurning(ctx context.Context) ([]verify.Turning, error) {
	roll, err := a.side.reports(ctx)
	if err != nil {
		return nil, err
	}
	var all []verify.Turning
	for _, d := range a.defs {
		ring := a.current.Load().rings[d.name]
		if ring.IsZero() {
			continue
		}
		s, err := (control{a}).secret(ctx, d, ring, roll, nil)
		if err != nil {
			return nil, err
		}
		t := verify.Turning{Secret: d.name, Active: s.Active, Waiting: s.Waiting, Blocked: s.Blocked, Operator: s.Operator, Overdue: map[string]time.Time{}}
		if pending, ok := ring.Pending(); ok {
			t.Pending, t.Since = pending.ID, pending.CreatedAt
		}
		if s.NextRotationAt != nil {
			t.Due = *s.NextRotationAt
		}
		for _, v := range s.Versions {
			if v.State == string(keyring.Retiring) && v.RetiresAt != nil {
				t.Overdue[v.ID] = *v.RetiresAt
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// account is who tries the whole sign-in; nil: nobody.
func (a *app) account() *verify.Account {
	c := a.config.Verify.Account
	if !c.Enabled() || a.opener == nil {
		return nil
	}
	return &verify.Account{Username: c.Username, Password: func() (secret.Value, error) {
		found, err := a.opener.find(c.Password)
		return found.Value, err
	}}
}

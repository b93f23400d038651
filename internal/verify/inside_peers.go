package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/oidc"
)

// keptFor is the longest that IdPs keep a client's key set, whatever max-age says.
const keptFor = time.Hour

// peers are about each identity provider, and our credentials there.
func (i inside) peers() []step {
	var steps []step
	asked := map[string]bool{} // by issuer
	for _, p := range i.Peers {
		where := host(p.Issuer)
		if !asked[p.Issuer] {
			steps = append(steps,
				step{"idp.discovery." + p.Name, "metadata of " + where, nil, func(ctx context.Context) finding { return i.discovery(ctx, p) }},
				step{"idp.clock." + p.Name, "clock of " + where, nil, func(ctx context.Context) finding { return i.clock(ctx, p) }})
		}
		asked[p.Issuer] = true
		if p.Client == nil {
			continue
		}
		of := []string{p.Secret}
		steps = append(steps, step{"credentials." + p.Name, "credential of " + p.ClientID + " at " + where, of, func(ctx context.Context) finding { return i.credentials(ctx, p) }})
		if !p.Signs && !p.Ends.IsZero() {
			steps = append(steps, step{"expiry." + p.Name, "end of the client secret of " + p.ClientID, of, func(context.Context) finding { return i.expiry(p, time.Now()) }})
		}
		if p.Introspect != nil {
			steps = append(steps, step{"introspection." + p.Name, "introspection by " + p.ClientID, of, func(ctx context.Context) finding { return introspection(ctx, p) }})
		}
	}
	return steps
}

const wellKnown = "/.well-known/openid-configuration"

func (p Peer) document(ctx context.Context, client *http.Client) (answer, string, error) {
	address := strings.TrimSuffix(p.Issuer, "/") + wellKnown
	a, err := fetch(ctx, client, http.MethodGet, address, "Accept", "application/json")
	return a, address, err
}

// discovery reads the metadata now; what is served with is the last good one.
func (i inside) discovery(ctx context.Context, p Peer) finding {
	a, address, err := p.document(ctx, i.HTTP)
	if err != nil {
		f := unreachable("the identity provider "+p.Name, address, err)
		f.cure += " Who is signed in stays so until tokens have to be renewed."
		return f
	}
	if a.status >= 400 && a.status < 500 && a.status != http.StatusTooManyRequests && a.status != http.StatusRequestTimeout {
		return bad("%s answers %d", address, a.status).
			because("it answers, but has no metadata there: the issuer's address is wrong, or a proxy in front of the identity provider does not know it now", "See whether OIDC_ISSUER (in idps.yaml: issuer) is exactly its issuer, and whether it runs.")
	}
	if a.status != http.StatusOK {
		return bad("%s answers %d", address, a.status).
			because("the identity provider is away or being maintained, or the issuer's address is wrong", "See whether it runs, and whether OIDC_ISSUER (in idps.yaml: issuer) is exactly its issuer.")
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(a.body, &document); err != nil {
		return bad("%s answers no JSON", address).
			because("something else than the identity provider answers there, such as a maintenance page", "See what answers at its address.")
	}
	if document.Issuer != p.Issuer {
		return bad("the document names the issuer %q, and %q is configured", document.Issuer, p.Issuer).
			because("the discovery document is that of another issuer: its address leads to another tenant, realm or server, or somebody stands in between (OpenID Connect Discovery 1.0 section 4.3)",
				"Configure the issuer exactly as the provider names itself, or have its address lead to the right one. The last good metadata stays in use until a restart.")
	}
	return good("issuer %s", p.Issuer)
}

// clock compares the provider's Date (RFC 9110 section 6.6.1) with ours.
func (i inside) clock(ctx context.Context, p Peer) finding {
	began := time.Now()
	a, address, err := p.document(ctx, i.HTTP)
	if err != nil {
		return skip("no answer from %s; see idp.discovery.%s", address, p.Name)
	}
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return skip("its answers have no Date")
	}
	if age, ok := seconds(a.header.Get("Age")); ok {
		date = date.Add(age)
	}
	ahead := date.Add(500 * time.Millisecond).Sub(began.Add(a.at.Sub(began) / 2)) // Date has whole seconds
	if ahead.Abs() > clockOff {
		return bad("its clock is %s %s of this replica's", span(ahead), direction(ahead)).
			because("one of the two clocks is wrong: assertions and ID tokens are refused as expired, or as not valid yet",
				"Compare both with a time server: have this machine (and the store's, see fleet.clocks) synchronise its clock, or tell whoever runs "+p.Issuer+".")
	}
	if ahead.Abs() < 2*time.Second {
		return good("within 2 s of this replica's")
	}
	return good("%s %s of this replica's", span(ahead), direction(ahead))
}

// away is why a provider could not be asked, as far as the error says.
func away(err error) string {
	if errors.Is(err, oidc.ErrNoMetadata) {
		return "the identity provider answers, but has no metadata where its issuer says"
	}
	return "the identity provider is away"
}

// verdictOf is what the provider says of one version.
type verdictOf struct {
	keyring.Version
	verdict oidc.Verdict
}

// credentials has the provider say which it accepts.
func (i inside) credentials(ctx context.Context, p Peer) finding {
	m, err := p.Metadata(ctx)
	if err != nil {
		return bad("it can't be asked: %v", err).because(away(err), "See idp.discovery."+p.Name+".")
	}
	ring := i.Rings()[p.Secret]
	if ring.IsZero() {
		return skip("there is no %s", p.Secret)
	}
	var all []verdictOf
	for v := range ring.Live() {
		if i.o.Brief && v.State != keyring.Active && (len(all) == 0 || all[0].verdict != oidc.Refuted) {
			continue
		}
		verdict, err := p.Client.Prove(ctx, m, v.ID)
		if errors.Is(err, oidc.ErrNoCredential) {
			continue // it turned since the rings were read
		}
		if err != nil {
			f := bad("it can't be asked about %s: %v", v.ID, err)
			if _, away := errors.AsType[*oidc.UnavailableError](err); away {
				return f.because("the identity provider is away, or has enough to do", "See idp.discovery."+p.Name+", and try again.")
			}
			return f.because("its answer breaks the protocol (RFC 6749 section 5.2)", "See what answers at its token and introspection endpoints.")
		}
		all = append(all, verdictOf{v, verdict})
	}
	return i.judge(p, all, time.Now())
}

// judge says what the verdicts mean, the active version's first.
func (i inside) judge(p Peer, all []verdictOf, now time.Time) finding {
	saw, spare := summary(all)
	if len(all) == 0 {
		return skip("the credentials have just turned; ask again")
	}
	for _, v := range all {
		if v.verdict != oidc.Refuted {
			continue
		}
		switch v.State {
		case keyring.Active:
			f := bad("%s", saw).refusing(v.ID)
			f.spares = spare
			cause, cure := i.whyRefused(p, v.Version, now)
			if p.Chosen != "" {
				cause = "we authenticate by " + p.Chosen + "; " + cause
			}
			if p.Chosen != "" && p.Signs {
				cure = "If the client has a client secret there, hand it in. Else: " + cure
			}
			if spare != "" {
				cause += "; it still accepts " + spare + ", which is not in use"
				cure += " Until then, go back with: keyway rollback " + p.Secret
			}
			return f.because(cause, cure)
		case keyring.Pending:
			if p.Signs && now.Sub(v.CreatedAt) < i.MaxAge {
				held := ""
				if !i.Fetched.IsZero() && i.Fetched.Before(v.CreatedAt) {
					held = ", the IdP still holds the JWKS of " + at(i.Fetched, now)
				}
				saw += " (new since " + at(v.CreatedAt, now) + held + ": it may be so until " + at(v.CreatedAt.Add(i.MaxAge), now) + ")"
				continue
			}
			cause, cure := i.whyRefused(p, v.Version, now)
			return bad("%s", saw).because(cause, cure)
		default: // nothing is issued with it any more; but there is no way back to it
			saw += " (a rollback to it would not help)"
		}
	}
	if all[0].verdict == oidc.Unproved {
		return skip("%s: its answers say neither", saw)
	}
	return good("%s", saw)
}

// summary is what was seen, and the first version that is accepted and not in use;
// empty: none is. The active version's verdict is the first.
func summary(all []verdictOf) (saw, spare string) {
	var told []string
	for n, v := range all {
		told = append(told, fmt.Sprintf("%s %s %s", v.State, v.ID, said(v.verdict)))
		if n > 0 && v.verdict == oidc.Proved && spare == "" {
			spare = v.ID
		}
	}
	return strings.Join(told, ", "), spare
}

func said(v oidc.Verdict) string {
	switch v {
	case oidc.Proved:
		return "accepted"
	case oidc.Refuted:
		return "refused"
	}
	return "neither accepted nor refused"
}

// whyRefused is the probable cause of a refusal, and its cure.
func (i inside) whyRefused(p Peer, v keyring.Version, now time.Time) (cause, cure string) {
	if !p.Signs {
		switch {
		case !p.Ends.IsZero() && !now.Before(p.Ends):
			return fmt.Sprintf("the client secret has expired at the identity provider (client_secret_expires_at: %s)", at(p.Ends, now)),
				fmt.Sprintf("Make a new client secret for the client %s at %s, and hand it in.", p.ClientID, p.Issuer)
		case v.State == keyring.Pending:
			return fmt.Sprintf("the new client secret is not registered at %s for the client %s", p.Issuer, p.ClientID),
				"Register it there, or hand in the one that is; the old one stays in use until then."
		}
		return fmt.Sprintf("the client secret of the client %s was changed, has expired or was deleted at %s, or the client was", p.ClientID, p.Issuer),
			fmt.Sprintf("Look at the client %s there; make a new client secret if need be, and hand it in.", p.ClientID)
	}
	register := fmt.Sprintf("if %s keeps our key set itself, register the key with kid %s for the client %s there", p.Issuer, v.ID, p.ClientID)
	switch {
	case i.Fetched.IsZero():
		return fmt.Sprintf("nobody has fetched our JWKS since this replica started: the identity provider can't reach it, or keeps the key set of client %s itself", p.ClientID),
			"See jwks.public and that the IdP reaches that address; " + register + "."
	case i.Fetched.Before(v.CreatedAt.Add(-time.Second)):
		ask := i.Fetched.Add(max(i.MaxAge, keptFor))
		return fmt.Sprintf("the IdP still holds the JWKS of %s; it should ask again at %s by our max-age, and will ask again at the latest at %s",
				at(i.Fetched, now), at(i.Fetched.Add(i.MaxAge), now), at(ask, now)),
			"Wait until then, or have it drop its cache of our keys; " + register + "."
	}
	return fmt.Sprintf("our JWKS was last fetched at %s, with the key %s in it, and the IdP goes by another: by a key set that it keeps itself, by a cache of its own, or its clock or ours is off", at(i.Fetched, now), v.ID),
		"See jwks.public and idp.clock." + p.Name + "; " + register + "."
}

// warnings are how long before its end a client secret is told of.
const warnAhead = 30 * 24 * time.Hour

func (i inside) expiry(p Peer, now time.Time) finding {
	left := p.Ends.Sub(now)
	cure := fmt.Sprintf("Make a new client secret for the client %s at %s, hand it in beside the old one, and set client_secret_expires_at to its end.", p.ClientID, p.Issuer)
	switch {
	case left <= 0:
		return bad("it ended at %s, %s ago", at(p.Ends, now), span(left)).because("the client secret has expired at the identity provider", cure)
	case left < 7*24*time.Hour:
		return bad("it ends at %s, in %s", at(p.Ends, now), span(left)).because("the client secret expires soon: nobody signs in after that", cure)
	case left < warnAhead:
		return good("it ends at %s, in %s: time for a new one", at(p.Ends, now), span(left))
	}
	return good("it ends at %s, in %s", at(p.Ends, now), span(left))
}

// introspection wants a random string to be called inactive (RFC 7662 section 2.2).
func introspection(ctx context.Context, p Peer) finding {
	body, err := p.Introspect(ctx, random())
	switch {
	case errors.Is(err, oidc.ErrNotOffered):
		return skip("%s offers none", p.Name)
	case errors.Is(err, oidc.ErrUnavailable):
		return bad("%v", err).because(away(err)+": opaque tokens are answered 503 meanwhile", "See idp.discovery."+p.Name+".")
	case err != nil:
		refused, _ := errors.AsType[*oidc.OAuthError](err)
		f := bad("%v", err).because(fmt.Sprintf("the introspection endpoint refuses us: the client %s may not introspect there, or its credential is refused", p.ClientID),
			fmt.Sprintf("Allow the client %s to introspect tokens at %s; see credentials.%s for its credential.", p.ClientID, p.Issuer, p.Name))
		if refused != nil && refused.Code == "invalid_client" {
			f.cause = fmt.Sprintf("the introspection endpoint refuses us: the credential of the client %s is not accepted there", p.ClientID)
		}
		return f
	}
	var said struct {
		Active *bool `json:"active"`
	}
	switch {
	case json.Unmarshal(body, &said) != nil || said.Active == nil:
		return bad("it answers without \"active\"").because("what answers is no introspection endpoint (RFC 7662 section 2.2)", "See introspection_url, and what the metadata names.")
	case *said.Active:
		return bad("it calls a random string active").
			because("the introspection endpoint says active to anything: whoever sends any opaque token is let in", "Stop accepting opaque tokens of "+p.Name+" at once (take its client_id or its audience away), and tell whoever runs it.")
	}
	return good("a random string is inactive")
}

package verify

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"keyway/internal/oidc"
)

func random() string { return rand.Text() + rand.Text() }

// signIn has the provider take our authorization request, for each callback.
func (i inside) signIn() []step {
	if i.SignIn == nil {
		return nil
	}
	var steps []step
	for _, callback := range i.SignIn.Callbacks {
		steps = append(steps, step{"signin." + host(callback), "sign-in for " + callback, nil, func(ctx context.Context) finding {
			address, err := i.SignIn.Begin(ctx, callback)
			if err != nil {
				return notBegun(i.SignIn.Peer, callback, err)
			}
			return idpPage(ctx, i.HTTP, address, callback)
		}})
	}
	if i.Account != nil && i.Deployment.Public != "" {
		steps = append(steps, step{account, "whole sign-in of the test account", nil, func(ctx context.Context) finding {
			password, err := i.Account.Password()
			if err != nil {
				return bad("its password can't be read: %v", err).because("verify.account.password names no readable file or variable", "Put the password there.")
			}
			return wholeSignIn(ctx, i.HTTP, i.Deployment, i.Account.Username, password)
		}})
	}
	return steps
}

// notBegun is a pushed request that was refused, or an IdP that is away.
func notBegun(peer, callback string, err error) finding {
	f := bad("%v", err)
	if refused, ok := errors.AsType[*oidc.OAuthError](err); ok {
		f = bad("the pushed authorization request is refused: %s %s", refused.Code, refused.Description)
		text := strings.ToLower(refused.Code + " " + refused.Description)
		switch {
		case strings.Contains(text, "redirect"):
			return f.because("the callback "+callback+" is not registered for our client at the identity provider", "Register exactly "+callback+" as a redirect URI of the client there.")
		case refused.Code == "invalid_client":
			return f.because("the identity provider refuses our credential", "See credentials."+peer+".")
		}
		return f.because("the identity provider does not allow what we ask for (scopes, response type, PAR) to this client", "Compare OIDC_SCOPES and the client's registration there.")
	}
	if errors.Is(err, oidc.ErrUnavailable) {
		return f.because(away(err), "See idp.discovery."+peer+".")
	}
	if errors.Is(err, oidc.ErrNotOffered) {
		return f.because("the configuration demands what the identity provider's metadata does not have", "Have it switched on there, or take the setting (oidc.par, jar, jarm, dpop) back to auto: docs/how-to/fapi.md.")
	}
	return f.because("the sign-in can't be begun", "See idp.discovery."+peer+" and credentials."+peer+".")
}

// refusals are how well-known providers say on a page that a redirect_uri is not
// theirs, whatever the status.
var refusals = regexp.MustCompile(`(?i)AADSTS50011|redirect_uri_mismatch|invalid parameter: redirect_uri|invalid_redirect_uri|redirect_uri did not match|redirect[ _]uri is (invalid|not (valid|registered|whitelisted))|callback url mismatch`)

// maxHops bounds the redirects that are followed within a provider.
const maxHops = 8

// idpPage opens an authorization request up to the provider's own page.
func idpPage(ctx context.Context, client *http.Client, address, callback string) finding {
	c := newWalker(client).client
	notRegistered := func(f finding) finding {
		return f.because("the callback "+callback+" is not registered for our client at the identity provider", "Register exactly "+callback+" as a redirect URI of the client there.")
	}
	for range maxHops {
		a, err := fetch(ctx, &c, http.MethodGet, address, "Accept", "text/html")
		if err != nil {
			return unreachable("the identity provider's page", host(address), err)
		}
		if a.redirects() {
			if strings.HasPrefix(a.location.String(), callback) {
				return backAtOnce(a.location, callback)
			}
			if text := a.location.Query().Get("error"); text != "" {
				f := bad("the provider goes on to an error page: %s", text)
				if strings.Contains(text+a.location.RawQuery, "redirect") {
					return notRegistered(f)
				}
				return f.because("the provider does not take our authorization request", "Compare the client's registration there with OIDC_SCOPES and the callback.")
			}
			if leads := strays(address, a.location); leads != "" {
				return bad("the provider sends a browser on to %s: %s, and not followed", host(a.location.String()), leads).
					because("what answers as the authorization endpoint is not the identity provider's, or its proxy builds redirects by the wrong scheme or host", "See what authorization_url leads to, and where the provider believes to be.")
			}
			address = a.location.String()
			continue
		}
		switch page := string(a.body); {
		case refusals.MatchString(page):
			return notRegistered(bad("the provider's page (status %d) says that the redirect_uri is not good", a.status))
		case a.status == http.StatusBadRequest:
			return notRegistered(bad("the authorization endpoint answers 400, without sending the browser back"))
		case a.status >= 500:
			return bad("the authorization endpoint answers %d", a.status).because("the identity provider is away or broken", "See whether it runs; try again.")
		case a.status != http.StatusOK:
			return bad("the authorization endpoint answers %d", a.status).
				because("something in front of the provider keeps us out, or authorization_url is wrong", "Open "+host(address)+" in a browser, and compare OIDC_AUTHORIZATION_URL.")
		}
		return good("the provider shows its page at %s", host(address))
	}
	return bad("more than %d redirects", maxHops).because("the provider sends a browser around in a circle", "Open the sign-in in a browser, and look at the provider's log.")
}

// strays says why a redirect is not one that a provider on the network makes; empty:
// it may be. We are where a browser is not, and nobody is to have us ask in there.
func strays(from string, to *url.URL) string {
	begun, err := url.Parse(from)
	switch {
	case err != nil || to.Scheme != "https" && to.Scheme != "http":
		return "no address of a page"
	case begun.Scheme == "https" && to.Scheme == "http":
		return "without TLS"
	case inward(to.Hostname()) && !inward(begun.Hostname()):
		return "an address of this machine or of its cloud"
	}
	return ""
}

// inward goes by the text alone.
func inward(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip, err := netip.ParseAddr(host)
	ip = ip.Unmap()
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}

// backAtOnce is an answer to a browser that nobody has signed in with: an error.
func backAtOnce(to *url.URL, callback string) finding {
	code, description := to.Query().Get("error"), to.Query().Get("error_description")
	f := bad("the browser is sent back at once with error=%s %s", code, description)
	switch code {
	case "":
		return bad("the browser is sent back at once, without an error").because("what answers as the authorization endpoint signs everybody in", "See what authorization_url leads to.")
	case "invalid_scope":
		return f.because("the client may not ask for our scopes", "Allow them to the client there, or change OIDC_SCOPES.")
	case "unauthorized_client", "unsupported_response_type":
		return f.because("the client may not use the code flow", "Allow the authorization code grant to the client there.")
	}
	return f.because("the provider does not take our authorization request for "+callback, "Compare the client's registration there with what we ask for.")
}

// bearer has made-up tokens refused, and a real one accepted.
func (i inside) bearer() []step {
	if i.Bearer == nil {
		return nil
	}
	steps := []step{{"bearer.made_up", "made-up bearer tokens", nil, func(ctx context.Context) finding {
		unknown := 0
		for kind, token := range madeUp(i.Peers) {
			switch i.Bearer(ctx, token) {
			case Accepted:
				return bad("a made-up token (%s) is accepted", kind).
					because("an identity provider calls anything active, or its keys can't be told from anybody's: strangers pass bearer routes", "Close the bearer routes, and see the introspection checks.")
			case Unknown:
				unknown++
			}
		}
		if unknown > 0 {
			return good("none is accepted; an identity provider could not be asked about %s", many(unknown, "token"))
		}
		return good("each is refused")
	}}}
	if i.Fresh == nil {
		return steps
	}
	return append(steps, step{"bearer.real", "a token by client credentials", nil, func(ctx context.Context) finding {
		token, err := i.Fresh(ctx)
		if err != nil {
			return skip("none can be had: %v", err)
		}
		switch i.Bearer(ctx, token) {
		case Accepted:
			return good("it passes")
		case Unknown:
			return bad("nobody can say whether it is good").because("the identity provider's keys or its introspection can't be had", "See the metadata and introspection checks.")
		}
		return bad("it is refused").because("the token is not for our audience, or of a kind or an issuer that no entry of idps.yaml has", "Compare iss, aud and typ of such a token with idps.yaml.")
	}})
}

// madeUp are tokens of nobody: opaque, a JWT without anybody's signature, one that
// claims to be a provider's.
func madeUp(peers []Peer) map[string]string {
	all := map[string]string{"a random string": random()}
	part := func(v any) string { text, _ := json.Marshal(v); return base64.RawURLEncoding.EncodeToString(text) }
	claims := map[string]any{"iss": "https://nobody.invalid", "sub": "nobody", "aud": "nobody", "exp": time.Now().Add(time.Minute).Unix(), "iat": time.Now().Unix()}
	for n, p := range peers {
		claims["iss"] = p.Issuer
		signature := make([]byte, 64)
		rand.Read(signature)
		all[fmt.Sprintf("a JWT as of %s, with a random signature", p.Name)] = part(map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": random()}) + "." + part(claims) + "." + base64.RawURLEncoding.EncodeToString(signature)
		if n >= 3 {
			break
		}
	}
	all["a JWT without a signature"] = part(map[string]any{"alg": "none", "typ": "at+jwt"}) + "." + part(claims) + "."
	return all
}

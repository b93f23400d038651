package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"keyway/internal/jwks"
)

// published is what a key set has to be.
type published struct {
	active string   // kid
	live   []string // kids, the active one first
	etag   string   // as we send it; empty: not known
	maxAge time.Duration
}

// private are members that only private keys have (RFC 7518 section 6).
var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// kidsOf reads a JWK Set (RFC 7517 section 5). leaks names private members in it.
func kidsOf(body []byte) (kids []string, leaks []string, err error) {
	var set struct {
		Keys *[]map[string]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil || set.Keys == nil {
		return nil, nil, fmt.Errorf("expected a JSON object with \"keys\", found something else")
	}
	for _, key := range *set.Keys {
		var kid string
		_ = json.Unmarshal(key["kid"], &kid)
		kids = append(kids, kid)
		for _, member := range private {
			if _, ok := key[member]; ok {
				leaks = append(leaks, kid+"."+member)
			}
		}
	}
	return kids, leaks, nil
}

// check holds a document against what it has to have.
func (p published) check(body []byte) finding {
	kids, leaks, err := kidsOf(body)
	switch {
	case err != nil:
		return bad("%v", err).because("what answers is no key set of ours", "See what serves "+jwks.Path+".")
	case len(leaks) > 0:
		return bad("private members are published: %s", list(leaks)).
			because("a private key is in the key set: everybody can sign as us", "Take it offline at once, and turn the key: keyway rotate signing-key --compromised")
	case len(kids) == 0:
		return bad("it has no key").because("what answers is no key set of ours", "See what serves "+jwks.Path+".")
	case p.active == "":
		return good("%s", many(len(kids), "key"))
	case !slices.Contains(kids, p.active):
		return bad("it has the keys %s, and not the active one, %s", list(kids), p.active)
	}
	if missing := without(p.live, kids); len(missing) > 0 {
		return bad("it has the keys %s, and lacks %s", list(kids), list(missing))
	}
	if foreign := without(kids, p.live); len(foreign) > 0 {
		return bad("it has %s besides ours", list(foreign)).
			because("it publishes keys that this fleet does not know: an older document in a cache, or another deployment's", "See what answers at "+jwks.Path+"; a key that should not be trusted must not be in it.")
	}
	return good("%s, the active one %s", many(len(kids), "key"), p.active)
}

func without(all, some []string) []string {
	var left []string
	for _, one := range all {
		if !slices.Contains(some, one) {
			left = append(left, one)
		}
	}
	return left
}

// public looks at the key set as an IdP does that fetches it. known gives what it
// has to have, afresh, because it may turn while it is looked at.
func publicKeys(ctx context.Context, client *http.Client, origin string, known func() published) finding {
	address := origin + jwks.Path
	a, err := fetch(ctx, client, http.MethodGet, address, "Accept", "application/jwk-set+json, application/json")
	if err != nil {
		f := unreachable("what serves the public address", address, err)
		f.cure += " An IdP that fetches our keys there has the same trouble."
		return f
	}
	p := known()
	switch {
	case a.redirects():
		return bad("%s answers %d, a redirect to %s", address, a.status, tidy(a.location.Redacted())).
			because("something in front of the gateway sends "+jwks.Path+" elsewhere (a sign-in of its own, another host, a slash)", "Let "+jwks.Path+" through to the gateway as it is: many IdPs follow no redirect for keys.")
	case a.status != http.StatusOK:
		return bad("%s answers %d", address, a.status).
			because("something in front of the gateway does not pass "+jwks.Path+" on, or keeps us out", "Route "+jwks.Path+" to the gateway, open to everybody: the keys in it are public.")
	}
	f := p.check(a.body)
	if !f.ok && f.cause == "" {
		// Another replica may have been a moment behind, or we.
		if later, err := again(ctx, client, address); err == nil {
			a, p = later, known()
			f = p.check(a.body)
		}
	}
	switch kind := a.mediaType(); {
	case !f.ok && f.cause == "":
		return p.old(ctx, client, address, a, f)
	case !f.ok:
		return f
	case kind != "application/jwk-set+json" && kind != "application/json":
		return bad("its media type is %q", kind).
			because("something in front of the gateway changes Content-Type, or serves a copy of its own", "Pass on application/jwk-set+json (RFC 7517 section 8.5.2): IdPs refuse other types.")
	}
	return p.caching(a, f)
}

func again(ctx context.Context, client *http.Client, address string, headers ...string) (answer, error) {
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return fetch(ctx, client, http.MethodGet, address, headers...)
}

// old says of when a key set is that lacks keys, and until when it may be served.
func (p published) old(ctx context.Context, client *http.Client, address string, a answer, f finding) finding {
	age, aged := seconds(a.header.Get("Age"))
	date, err := http.ParseTime(a.header.Get("Date"))
	of := a.at.Add(-age)
	if err == nil && a.at.Sub(date) > age+2*time.Second {
		of, aged = date, true
	}
	past, err := fetch(ctx, client, http.MethodGet, address, "Cache-Control", "no-cache", "Pragma", "no-cache")
	fresher := err == nil && p.check(past.body).ok
	tag := ""
	if etag := a.header.Get("ETag"); etag != "" && p.etag != "" && strings.TrimPrefix(etag, "W/") != p.etag {
		tag = fmt.Sprintf("; its ETag is %s, and that of the present one %s", etag, p.etag)
	}
	f.saw += tag
	switch {
	case aged && a.at.Sub(of) > 0:
		until := "until somebody empties it"
		if keep, ok := maxAge(a.header); ok {
			until = "until " + at(of.Add(keep), a.at) + " at most, by its max-age"
		}
		f.saw += fmt.Sprintf("; it is of %s", at(of, a.at))
		return f.because(fmt.Sprintf("a cache in front of the gateway (a proxy, a CDN) serves the JWKS of %s, and may %s", at(of, a.at), until),
			"Empty that cache for "+jwks.Path+", and have it obey our Cache-Control (max-age "+span(p.maxAge)+", must-revalidate).")
	case fresher:
		return f.because("a cache in front of the gateway (a proxy, a CDN) serves an old JWKS; asked past the cache, it answers the present one",
			"Empty that cache for "+jwks.Path+", and have it obey our Cache-Control (max-age "+span(p.maxAge)+", must-revalidate).")
	}
	return f.because("what answers at the public address serves an old JWKS, or another deployment's: a copy in a file, a route to another fleet, or a replica that lags",
		"Have "+jwks.Path+" at "+host(address)+" served by this fleet, and not from a copy.")
}

// sane is the longest that a key set may be kept: a new key waits for as long.
const sane = 24 * time.Hour

// caching looks at how long others may keep it.
func (p published) caching(a answer, f finding) finding {
	control := strings.ToLower(strings.Join(a.header.Values("Cache-Control"), ", "))
	keep, ok := maxAge(a.header)
	cure := "Have the proxy pass Cache-Control on as the gateway sends it (public, max-age=" + strconv.Itoa(int(p.maxAge/time.Second)) + ", must-revalidate)."
	switch {
	case control == "":
		return bad("it comes without Cache-Control").
			because("something in front of the gateway strips cache headers: each IdP and each cache keeps our keys for as long as it likes, and a new key is known late", cure)
	case strings.Contains(control, "no-store"):
		return bad("Cache-Control is %q", control).
			because("something in front of the gateway forbids caching: the IdP fetches our keys at every sign-in, or complains", cure)
	case !ok:
		return bad("Cache-Control is %q, without max-age", control).
			because("something in front of the gateway changes cache headers", cure)
	case keep > sane:
		return bad("max-age is %s", span(keep)).
			because("something in front of the gateway lengthens max-age: a new key is known only after that", cure)
	case p.maxAge > 0 && keep > p.maxAge:
		return bad("max-age is %s, and the gateway says %s", span(keep), span(p.maxAge)).
			because("something in front of the gateway lengthens max-age: a key is signed with before everybody knows it", cure)
	}
	f.saw += fmt.Sprintf(", max-age %s", span(keep))
	if age, ok := seconds(a.header.Get("Age")); ok && age > 0 {
		f.saw += fmt.Sprintf(", from a cache %s old", span(age))
	}
	return f
}

// maxAge is what RFC 9111 section 5.2.2 lets a shared cache do.
func maxAge(h http.Header) (time.Duration, bool) {
	keep, found := time.Duration(0), false
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if name = strings.ToLower(name); name == "max-age" || name == "s-maxage" {
			if d, ok := seconds(strings.Trim(value, `"`)); ok {
				keep, found = max(keep, d), true
			}
		}
	}
	return keep, found
}

func seconds(text string) (time.Duration, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return time.Duration(n) * time.Second, err == nil
}

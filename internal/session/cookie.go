package session

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"
)

const (
	cookieName = "bff_session"
	hostPrefix = "__Host-"

	idBytes    = 32
	idText     = 43 // base64url of idBytes
	maxVersion = 64

	// maxCookieBytes and maxCookies bound what is looked through for the cookie.
	// Browsers send at most some 180 cookies of 4 kB for one site; beyond these
	// bounds somebody plays.
	maxCookieBytes = 256 << 10
	maxCookies     = 512
)

// CookieOptions is how the session cookie is set.
type CookieOptions struct {
	Domain   string // empty: this host only
	Secure   bool
	SameSite http.SameSite // Lax if unset
}

// cookies makes and reads the session cookie.
//
// Without a domain, and with Secure, its name begins with __Host-, which no
// other host and no page without TLS can set (RFC 6265bis section 4.1.3.2).
//
// It is given Max-Age until the absolute expiry, so that a browser throws away
// what can't be good any more; what counts is the expiry that the record holds.
type cookies struct {
	CookieOptions
	name string
}

func newCookies(o CookieOptions) (cookies, error) {
	if o.SameSite == 0 || o.SameSite == http.SameSiteDefaultMode {
		o.SameSite = http.SameSiteLaxMode
	}
	if o.SameSite == http.SameSiteNoneMode && !o.Secure {
		return cookies{}, errors.New("session cookie: SameSite=None needs Secure, browsers refuse it otherwise")
	}
	c := cookies{o, cookieName}
	if o.Secure && o.Domain == "" {
		c.name = hostPrefix + cookieName
	}
	probe := c.base()
	probe.Value = "x"
	if err := probe.Valid(); err != nil {
		return cookies{}, errors.New("session cookie: the domain is not one that a cookie can have")
	}
	return c, nil
}

func (c cookies) base() *http.Cookie {
	return &http.Cookie{
		Name: c.name, Path: "/", Domain: c.Domain,
		Secure: c.Secure, HttpOnly: true, SameSite: c.SameSite,
	}
}

func (c cookies) make(version string, id [idBytes]byte, life time.Duration) *http.Cookie {
	k := c.base()
	k.Value = version + "." + base64.RawURLEncoding.EncodeToString(id[:])
	// Max-Age 0 would be no Max-Age to net/http; a browser's second is near enough.
	k.MaxAge = max(1, int(life/time.Second))
	return k
}

// clear has the attributes of make, because a browser replaces a cookie only by
// one of the same name, domain and path (RFC 6265 section 5.3).
func (c cookies) clear() *http.Cookie {
	k := c.base()
	k.MaxAge = -1
	k.Expires = time.Unix(1, 0)
	return k
}

// find reads the session cookie from the values of the Cookie header. Whatever
// is wrong with it, there is none: the answer to a forged cookie is the answer
// to no cookie.
//
// Two cookies of the name are none, too: one of them was set by another host of
// the site or under a longer path, nothing tells which, and a browser sends them
// in an order that who planted one can choose.
func (c cookies) find(headers []string) (version string, id [idBytes]byte, ok bool) {
	var value string
	found, seen, size := 0, 0, 0
	for _, h := range headers {
		if size += len(h); size > maxCookieBytes {
			return "", id, false
		}
		for rest := h; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			if seen++; seen > maxCookies {
				return "", id, false
			}
			name, v, isPair := strings.Cut(strings.Trim(pair, " \t"), "=")
			if isPair && name == c.name {
				value = v
				found++
			}
		}
	}
	if found != 1 {
		return "", id, false
	}
	return parseCookieValue(value)
}

func parseCookieValue(value string) (version string, id [idBytes]byte, ok bool) {
	version, text, isPair := strings.Cut(value, ".")
	if !isPair || len(text) != idText || version == "" || len(version) > maxVersion {
		return "", id, false
	}
	for i := range len(version) {
		if !versionByte(version[i]) {
			return "", id, false
		}
	}
	// Strict: the two spare bits of the last character must be 0, so that one id
	// has one spelling.
	var src [idText]byte
	copy(src[:], text)
	n, err := base64.RawURLEncoding.Strict().Decode(id[:], src[:])
	return version, id, err == nil && n == idBytes
}

func versionByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b == '_' || b == '-'
}

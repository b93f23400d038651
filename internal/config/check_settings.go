package config

import (
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func (l *loader) checkSettings() {
	s := &l.settings
	l.insecure(SettingsFile, reflect.ValueOf(s).Elem(), "")
	l.checkListeners()
	l.checkOIDC()
	l.checkSession()
	l.checkCookie()
	l.checkCallback()
	l.checkOrigins()
	l.checkLogout()
	l.checkRotation()
	l.checkAdmin()
	l.checkAudit()
	l.checkVerify()
	l.checkRates()
	if !s.Authz.Enabled {
		l.note(l.files[SettingsFile].at("authz.enabled"), "authz.enabled", "all checks by the policy decision point are switched off", "remove it as soon as the emergency is over")
	}
	if strings.Contains(s.Store.RedisURL.Reveal(), "skip_verify") {
		l.note(l.files[SettingsFile].at("store.redis_url"), "store.redis_url", "skip_verify: Redis's certificate is not checked", "whoever is on the network in between can read and end sessions")
	}
}

func (l *loader) checkListeners() {
	s := &l.settings
	const key, want = "admin.addr", "expected host:port, as in 127.0.0.1:8001"
	host, portText, err := net.SplitHostPort(s.Admin.Addr)
	if err != nil {
		l.wrong(SettingsFile, key, "found "+shown(s.Admin.Addr), want)
		return
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		l.wrong(SettingsFile, key, "found "+shown(s.Admin.Addr), want)
		return
	}
	if port == s.Server.Port && port != 0 && (host == s.Server.Host || anyAddress(host) || anyAddress(s.Server.Host)) {
		if l.given(SettingsFile, key) || !l.given(SettingsFile, "server.port") {
			l.wrong(SettingsFile, key, "the admin listener has the public listener's port", "a port of its own, so that it can't be reached from outside")
		} else { // said where somebody wrote it
			l.wrong(SettingsFile, "server.port", "the public listener has the admin listener's port ("+s.Admin.Addr+")", "another port, or another BFF_ADMIN_ADDR")
		}
	}
	switch {
	case isLoopback(host):
	case s.Admin.TokenFile == "" && s.Admin.Role == "":
		l.note(l.files[SettingsFile].at(key), key, "the admin listener can be reached from other machines, and there is no token to ask of them: the admin API is off, metrics are served", "admin.token_file (BFF_ADMIN_TOKEN_FILE) for the API, and make sure that only operators reach it")
	default:
		l.note(l.files[SettingsFile].at(key), key, "the admin listener can be reached from other machines", "make sure that only operators reach it")
	}
}

func anyAddress(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func (l *loader) checkOIDC() {
	o := &l.settings.OIDC
	if !o.ClientSecretExpiresAt.IsZero() && o.TokenAuthMethod == AuthPrivateKeyJWT {
		l.wrong(SettingsFile, "oidc.client_secret_expires_at", "the end of a client secret, and private_key_jwt has none", "without it, or another oidc.token_auth_method")
	}
	switch {
	case o.Issuer == "" && o.ClientID != "":
		l.wrong(SettingsFile, "oidc.issuer", "a client_id without an issuer", "set OIDC_ISSUER, or oidc.issuer")
	case o.Issuer != "" && o.ClientID == "":
		l.wrong(SettingsFile, "oidc.client_id", "an issuer without a client_id", "set AUTH_CLIENT_ID, or oidc.client_id")
	}
	// OpenID Connect Core 1.0, section 3.1.2.1.
	if !slices.Contains(o.Scopes, "openid") {
		l.wrong(SettingsFile, "oidc.scopes", "the scope openid is missing", "without it there is no sign-in: openid "+strings.Join(o.Scopes, " "))
	}
	if o.Provider == "" {
		o.Provider = "oidc"
		for _, p := range l.idps.IdPs {
			if o.Issuer != "" && p.Issuer == o.Issuer {
				o.Provider = p.Provider
				if p.Provider == "" {
					o.Provider = p.Name
				}
				break
			}
		}
	}
	l.checkAlias(SettingsFile, "oidc.provider", o.Provider)
}

var aliasSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// checkAlias keeps an alias from changing how an identity is read.
func (l *loader) checkAlias(file, key, alias string) {
	if !aliasSyntax.MatchString(alias) {
		l.wrong(file, key, "found "+shown(alias), "expected letters, digits, ., _ and -: it becomes part of auth:account:<provider>:<sub>")
	}
}

func (l *loader) checkSession() {
	s := &l.settings.Session
	if s.IdleTimeout > s.Lifetime {
		if l.given(SettingsFile, "session.idle_timeout") {
			l.wrong(SettingsFile, "session.idle_timeout", "the idle timeout ("+s.IdleTimeout.String()+") is longer than the lifetime ("+s.Lifetime.String()+"), and would never apply", "at most the lifetime")
		}
		s.IdleTimeout = s.Lifetime
	}
	for _, b := range []struct {
		family string
		bits   int
	}{{"ipv4", s.BindAddressPrefix.IPv4}, {"ipv6", s.BindAddressPrefix.IPv6}} {
		if b.bits > 0 && b.bits < minBindingBits {
			l.wrong(SettingsFile, "session.bind_address_prefix."+b.family, fmt.Sprintf("found %d, which binds a session to next to nothing", b.bits), fmt.Sprintf("expected %d or more, or 0 for no binding", minBindingBits))
		}
	}
}

// minBindingBits is the largest network that ever was one organisation's.
const minBindingBits = 8

func (l *loader) checkCookie() {
	c := &l.settings.Cookie
	// RFC 6265 section 5.2.3 ignores a leading dot, and many write one.
	c.Domain = strings.ToLower(strings.TrimPrefix(c.Domain, "."))
	if c.Domain != "" {
		switch {
		case !hostName.MatchString(c.Domain) || net.ParseIP(c.Domain) != nil:
			l.wrong(SettingsFile, "cookie.domain", "found "+shown(c.Domain), "expected a domain such as example.com, without scheme, port and path")
		case !strings.Contains(c.Domain, "."):
			l.wrong(SettingsFile, "cookie.domain", "a domain of one label ("+shown(c.Domain)+"), which browsers refuse", "a domain of yours, such as example.com, or none")
		}
	}
	l.checkPublicSuffix()
	// RFC 6265bis section 4.1.2.7: browsers drop SameSite=None without Secure.
	if c.SameSite == SameSiteNone && !c.Secure {
		l.wrong(SettingsFile, "cookie.same_site", "None without secure, which browsers refuse", "cookie.secure: true, or same_site: Lax")
	}
	if c.RequireHostPrefix && !c.HostOnly() {
		l.wrong(SettingsFile, "cookie.require_host_prefix", "the cookie would lose its __Host- prefix", "no domain, and secure: true (RFC 6265bis section 4.1.3.2)")
	}
	if static := l.settings.Callback.Static(); static != nil {
		if h := strings.ToLower(static.Hostname()); c.Domain != "" && h != c.Domain && !strings.HasSuffix(h, "."+c.Domain) {
			l.wrong(SettingsFile, "cookie.domain", "the site's host "+shown(h)+" is not in the cookie's domain "+shown(c.Domain)+", so browsers would refuse the cookie", "a domain that the host ends in, or none")
		}
	}
}

// checkLogout refuses cookies, which a browser would throw away for the whole
// registrable domain.
func (l *loader) checkLogout() {
	const want = "expected cache, storage or executionContexts"
	for i, what := range l.settings.Logout.ClearSiteData {
		key := fmt.Sprintf("logout.clear_site_data[%d]", i)
		switch {
		case what == "cookies":
			l.wrong(SettingsFile, key, "cookies, with which a browser throws away those of every host of the domain, other applications' too", want+"; our own cookies are cleared by name")
		case what == "*":
			l.wrong(SettingsFile, key, "*, which is cookies, too", want)
		case !slices.Contains([]string{"cache", "storage", "executionContexts"}, what):
			l.wrong(SettingsFile, key, "found "+shown(what), want)
		}
	}
}

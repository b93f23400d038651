package config

import (
	"fmt"
	"net"
	"net/url"
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
	if !s.Authz.Enabled {
		l.note(l.files[SettingsFile].at("authz.enabled"), "authz.enabled", "all checks by the policy decision point are switched off", "remove it as soon as the emergency is over")
	}
	if strings.Contains(s.Store.RedisURL.Reveal(), "skip_verify") {
		l.note(l.files[SettingsFile].at("store.redis_url"), "store.redis_url", "skip_verify: Redis's certificate is not checked", "whoever is on the network in between can read and end sessions")
	}
	for _, key := range []string{"telemetry.otlp_endpoint", "telemetry.kafka_bootstrap_servers"} {
		if l.given(SettingsFile, key) {
			l.note(l.files[SettingsFile].at(key), key, "this version does not use it yet", "")
		}
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
		l.wrong(SettingsFile, key, "the admin listener has the public listener's port", "a port of its own, so that it can't be reached from outside")
	}
	if !isLoopback(host) {
		l.note(l.files[SettingsFile].at(key), key, "the admin listener can be reached from other machines", "make sure that only operators reach it")
	}
}

func anyAddress(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func (l *loader) checkOIDC() {
	o := &l.settings.OIDC
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
}

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
	// RFC 6265bis section 4.1.2.7: browsers drop SameSite=None without Secure.
	if c.SameSite == SameSiteNone && !c.Secure {
		l.wrong(SettingsFile, "cookie.same_site", "None without secure, which browsers refuse", "cookie.secure: true, or same_site: Lax")
	}
	if c.RequireHostPrefix && !c.HostOnly() {
		l.wrong(SettingsFile, "cookie.require_host_prefix", "the cookie would lose its __Host- prefix", "no domain, and secure: true (RFC 6265bis section 4.1.3.2)")
	}
	if static := l.settings.Callback.Static(); static != nil {
		if !c.Secure && static.Scheme == "https" && !isLoopback(static.Hostname()) {
			l.wrong(SettingsFile, "cookie.secure", "false, though the site is served over https", "true: otherwise the session cookie can be read on its way")
		}
		if h := strings.ToLower(static.Hostname()); c.Domain != "" && h != c.Domain && !strings.HasSuffix(h, "."+c.Domain) {
			l.wrong(SettingsFile, "cookie.domain", "the site's host "+shown(h)+" is not in the cookie's domain "+shown(c.Domain)+", so browsers would refuse the cookie", "a domain that the host ends in, or none")
		}
	}
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// checkHost accepts host or host:port and returns it in lower case.
func checkHost(text string) (string, bool) {
	u, err := url.Parse("https://" + text)
	if err != nil || u.Host != text || strings.HasSuffix(text, ":") {
		return "", false
	}
	h := strings.ToLower(u.Hostname())
	return strings.ToLower(text), hostName.MatchString(h) || net.ParseIP(h) != nil
}

func (l *loader) checkCallback() {
	c := &l.settings.Callback
	hosts := make([]string, 0, len(c.AllowedRedirectHosts))
	for i, h := range c.AllowedRedirectHosts {
		norm, ok := checkHost(h)
		if !ok {
			l.wrong(SettingsFile, fmt.Sprintf("callback.allowed_redirect_hosts[%d]", i), "found "+shown(h), "expected exact hosts such as app.example.com or localhost:8000, without scheme, path or *")
		}
		hosts = append(hosts, norm)
	}
	c.AllowedRedirectHosts = hosts
	if c.DefaultHost != "" {
		norm, ok := checkHost(c.DefaultHost)
		if !ok {
			l.wrong(SettingsFile, "callback.default_host", "found "+shown(c.DefaultHost), "expected a host such as app.example.com, with its port if it is not the usual one")
		}
		c.DefaultHost = norm
	}
	if c.URL != nil {
		if c.URL.Path != CallbackPath || c.URL.RawQuery != "" {
			l.wrong(SettingsFile, "callback.url", "its path is "+shown(c.URL.Path), "the callback is served at "+CallbackPath+", and nowhere else, without a query")
		}
		if c.URL.Scheme == "http" && !isLoopback(c.URL.Hostname()) && l.settings.Cookie.Secure {
			l.wrong(SettingsFile, "callback.url", "plain http to a host that is not this machine: the secure session cookie would not come back", "https")
		}
	}
	static := c.Static()
	if static != nil && len(hosts) > 0 && !slices.Contains(hosts, strings.ToLower(static.Host)) {
		key := "callback.url"
		if c.URL == nil {
			key = "callback.default_host"
		}
		l.wrong(SettingsFile, key, "its host "+shown(static.Host)+" is not among allowed_redirect_hosts", "add it there: "+strings.Join(hosts, ", "))
	}
	switch {
	case c.Dynamic && len(hosts) == 0:
		l.wrong(SettingsFile, "callback.dynamic", "a dynamic callback without allowed_redirect_hosts", "list the hosts (BFF_ALLOWED_REDIRECT_HOSTS): otherwise whoever sets the Host header chooses where codes go")
	case !c.Dynamic && static == nil && l.settings.OIDC.Issuer != "":
		l.wrong(SettingsFile, "callback.url", "no callback is configured", "set BFF_CALLBACK_URL (https://your-host"+CallbackPath+"), or BFF_DEFAULT_HOST, or BFF_DYNAMIC_CALLBACK with BFF_ALLOWED_REDIRECT_HOSTS")
	}
}

// checkOrigins insists on serialized origins (RFC 6454 section 6.1), which is
// what a browser sends, so that comparing is comparing strings.
func (l *loader) checkOrigins() {
	for i, o := range l.settings.CORS.AllowOrigins {
		u, err := url.Parse(o)
		key := fmt.Sprintf("cors.allow_origins[%d]", i)
		want := "expected an exact origin such as https://app.example.com: scheme, host, port if it is not the usual one, and nothing after it"
		switch {
		case o == "*" || o == "null" || strings.Contains(o, "*"):
			l.wrong(SettingsFile, key, "found "+shown(o)+", which any site could be", want)
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ToLower(o) != strings.ToLower(u.Scheme)+"://"+strings.ToLower(u.Host),
			u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
			l.wrong(SettingsFile, key, "found "+shown(o), want)
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			l.note(l.files[SettingsFile].at(key), key, "a plain http origin "+shown(o), "whoever is on its network can call as your users")
		}
		l.settings.CORS.AllowOrigins[i] = strings.ToLower(o)
	}
}

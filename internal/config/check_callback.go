package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"keyway/internal/route"
)

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
	l.checkPostLogoutPath()
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
	}
	l.checkSites()
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

// maxPostLogoutPath is as long as a return_to may be.
const maxPostLogoutPath = 1024

// checkPostLogoutPath holds it to what a return_to is held to, and keeps it from
// leading round in a circle.
func (l *loader) checkPostLogoutPath() {
	const key = "callback.post_logout_path"
	path := l.settings.Callback.PostLogoutPath
	const want = "expected a plain path of this site, such as / or /signed-out"
	escaped, _, err := route.SplitTarget(path)
	switch {
	case len(path) > maxPostLogoutPath:
		l.wrong(SettingsFile, key, fmt.Sprintf("found %d bytes", len(path)), fmt.Sprintf("expected at most %d", maxPostLogoutPath))
	case err != nil || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`#\"<>`, r) }):
		l.wrong(SettingsFile, key, "found "+shown(path), want)
	case OwnPath(escaped) && escaped != "/auth/login":
		l.wrong(SettingsFile, key, "found "+shown(path)+", which the gateway serves itself and which is no page", want)
	}
}

// site is a place where browsers meet us, and the key that says so.
type site struct {
	key, scheme, host, port string
}

func siteAt(key, scheme, host string) site {
	u := &url.URL{Scheme: scheme, Host: host}
	return site{key, scheme, u.Hostname(), portOf(u)}
}

// sites are the callback that is fixed, and those that a request may choose.
func (c *Callback) sites() []site {
	var all []site
	switch {
	case c.URL != nil:
		all = append(all, siteAt("callback.url", c.URL.Scheme, c.URL.Host))
	case c.DefaultHost != "":
		all = append(all, siteAt("callback.default_host", c.DefaultScheme, c.DefaultHost))
	}
	if c.Dynamic {
		for i, h := range c.AllowedRedirectHosts {
			all = append(all, siteAt(fmt.Sprintf("callback.allowed_redirect_hosts[%d]", i), c.DefaultScheme, h))
		}
	}
	return all
}

// checkSites holds the cookie against every scheme and host that the site has.
func (l *loader) checkSites() {
	c := &l.settings.Cookie
	for _, s := range l.settings.Callback.sites() {
		switch {
		case s.host == "" || isLoopback(s.host): // "": a host that is refused already
		case s.scheme == "https" && !c.Secure:
			l.wrong(SettingsFile, "cookie.secure", "false, though the site is served over https", "true: otherwise the session cookie can be read on its way")
		case s.scheme == "http" && c.Secure:
			l.wrong(SettingsFile, s.key, "plain http to a host that is not this machine: the secure session cookie would not come back", "https")
		case s.scheme == "http":
			l.note(l.files[SettingsFile].at(s.key), s.key, "the site is served over plain http, at "+s.host, "whoever is on the network in between can take over sessions")
		}
	}
}

// checkPublicSuffix refuses a cookie for everybody under co.uk: browsers do (RFC
// 6265 section 5.3, step 5). Suffixes that companies registered come and go, and
// may be one's own, so they are a note.
func (l *loader) checkPublicSuffix() {
	const key = "cookie.domain"
	domain := l.settings.Cookie.Domain
	if !strings.Contains(domain, ".") || net.ParseIP(domain) != nil {
		return
	}
	suffix, icann := publicsuffix.PublicSuffix(domain)
	switch {
	case suffix != domain:
	case icann:
		l.wrong(SettingsFile, key, shown(domain)+" is a public suffix: browsers refuse a cookie for everybody's domains under it", "a domain of yours below it, or none")
	default:
		l.note(l.files[SettingsFile].at(key), key, shown(domain)+" is on the list of public suffixes: browsers refuse a cookie that is shared below it", "a domain of yours below it, or none")
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
		case strings.ContainsFunc(o, func(r rune) bool { return r > '~' }):
			l.wrong(SettingsFile, key, "found "+shown(o)+", which no browser sends", "the ASCII form of the name, as in https://xn--bcher-kva.example")
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			l.note(l.files[SettingsFile].at(key), key, "a plain http origin "+shown(o), "whoever is on its network can call as your users")
		}
		l.settings.CORS.AllowOrigins[i] = strings.ToLower(o)
	}
}

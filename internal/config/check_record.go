package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// checkAdmin looks at how browsers come to the console, and who may.
func (l *loader) checkAdmin() {
	a := &l.settings.Admin
	if a.PublicURL != nil {
		l.checkAdminURL(a.PublicURL)
	}
	switch {
	case a.Role != "" && l.settings.OIDC.Issuer == "":
		l.wrong(SettingsFile, "admin.role", "a role, and no provider to sign in at", "set OIDC_ISSUER, or oidc.issuer")
	case a.Role == "" && l.given(SettingsFile, "admin.role_claim"):
		l.wrong(SettingsFile, "admin.role_claim", "a claim without the role to look for in it", "admin.role, or without it: nobody signs in to the console through the provider")
	}
	for _, part := range strings.Split(a.RoleClaim, ".") {
		if strings.TrimSpace(part) == "" {
			l.wrong(SettingsFile, "admin.role_claim", "found "+shown(a.RoleClaim), "expected a claim such as roles or realm_access.roles")
			break
		}
	}
}

// checkAdminURL insists on an origin that no page of the site shares: a script
// there could do on the console what its operator can.
func (l *loader) checkAdminURL(u *url.URL) {
	const key = "admin.public_url"
	const want = "expected scheme and host, as in https://keyway-admin.example.com"
	norm, ok := checkHost(u.Host)
	switch {
	case !ok:
		l.wrong(SettingsFile, key, "found the host "+shown(u.Host), want)
		return
	case u.Path != "" && u.Path != "/":
		l.wrong(SettingsFile, key, "found the path "+shown(u.Path), want+": the console is at /")
		return
	}
	u.Host, u.Path = norm, ""
	if !l.encrypted(key, u) {
		return
	}
	for _, s := range l.settings.Callback.sites() {
		switch {
		case s.host == "":
		case s.scheme == u.Scheme && strings.EqualFold(s.host, u.Hostname()) && s.port == portOf(u):
			l.wrong(SettingsFile, key, "it is the site's own address", "a host of its own: a script of the site could otherwise do on the console what an operator can")
			return
		case strings.EqualFold(s.host, u.Hostname()) && !isLoopback(s.host):
			l.note(l.files[SettingsFile].at(key), key, "the console has the site's host "+shown(s.host), "a host of its own: browsers send cookies to all ports of a host")
			return
		}
	}
}

// encrypted reports plain http beyond loopback. There is no switch that allows it.
func (l *loader) encrypted(key string, u *url.URL) bool {
	if u.Scheme == "https" || isLoopback(u.Hostname()) {
		return true
	}
	l.wrong(SettingsFile, key, "plain http to a host that is not this machine", "https")
	return false
}

func (l *loader) checkAudit() {
	p := &l.settings.Audit.Push
	switch {
	case p.URL != nil:
		l.encrypted("audit.push.url", p.URL) // RFC 8935 section 5.3
		if p.Audience == "" {
			l.wrong(SettingsFile, "audit.push.audience", "the key is missing", "needed: who the tokens are for, as the receiver expects it in aud (RFC 8417 section 2.2)")
		}
	case !l.broken(SettingsFile, "audit.push.url"):
		for _, key := range []string{"audience", "token"} {
			if l.given(SettingsFile, "audit.push."+key) {
				l.wrong(SettingsFile, "audit.push."+key, "no url to push to", "audit.push.url, or without it")
				break
			}
		}
	}
	l.checkKafka()
}

var (
	// Names of containers have underscores.
	brokerHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?$`)
	kafkaTopic = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)
)

func (l *loader) checkKafka() {
	const at = "audit.kafka."
	k := &l.settings.Audit.Kafka
	for i, b := range k.Brokers {
		if !isBroker(b) {
			l.wrong(SettingsFile, fmt.Sprintf("%sbrokers[%d]", at, i), "found "+shown(b), "expected host:port, as in kafka-1.internal:9092")
		}
	}
	if len(k.Brokers) == 0 && !l.broken(SettingsFile, at+"brokers") {
		for _, key := range []string{"topic", "envelope", "tls", "username", "password"} {
			if l.given(SettingsFile, at+key) {
				l.wrong(SettingsFile, at+key, "no brokers to send to", "audit.kafka.brokers (KAFKA_BOOTSTRAP_SERVERS), or without it")
				return
			}
		}
		return
	}
	if !kafkaTopic.MatchString(k.Topic) || k.Topic == "." || k.Topic == ".." {
		l.wrong(SettingsFile, at+"topic", "found "+shown(k.Topic), "expected letters, digits, ., _ and -, at most 249")
	}
	l.bothOrNone(at, k.Username, k.Password)
	if k.Username != "" && !k.TLS {
		l.note(l.files[SettingsFile].at(at+"username"), at+"username", "a password for brokers, without tls", "tls: true: whoever is on the network in between can otherwise read the record, and may learn the password")
	}
}

// isBroker accepts host, host:port, and IPv6 addresses in brackets if a port follows.
func isBroker(text string) bool {
	host := text
	if h, port, err := net.SplitHostPort(text); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return false
		}
		host = h
	}
	return brokerHost.MatchString(host) || net.ParseIP(host) != nil
}

func (l *loader) checkVerify() {
	a := &l.settings.Verify.Account
	l.bothOrNone("verify.account.", a.Username, a.Password)
	if a.Enabled() && l.settings.OIDC.Issuer == "" {
		l.wrong(SettingsFile, "verify.account.username", "a test account, and no provider to sign in at", "set OIDC_ISSUER, or oidc.issuer")
	}
}

// bothOrNone reports a user name without a password, or the other way round.
func (l *loader) bothOrNone(at, username string, password SecretRef) {
	switch {
	case l.broken(SettingsFile, at+"username") || l.broken(SettingsFile, at+"password"):
	case username == "" && !password.IsZero():
		l.wrong(SettingsFile, at+"password", "a password without a username", at+"username")
	case username != "" && password.IsZero():
		l.wrong(SettingsFile, at+"username", "a username without a password", at+"password: file:/path or ${NAME}")
	}
}

package config

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"keyway/internal/limit"
	"keyway/internal/route"
)

// parseScalar reads one value. Its errors are *valueError; they show the text
// only where it can't be a secret.
func parseScalar(text string, t reflect.Type, f field) (reflect.Value, error) {
	switch t {
	case typeURL:
		u, err := parseURL(text, f.url)
		return reflect.ValueOf(u), err
	case typePrefix:
		p, err := parsePrefix(text)
		return reflect.ValueOf(p), err
	case typeDuration:
		d, err := parseDuration(text, f)
		return reflect.ValueOf(d), err
	case typeTime:
		at, err := parseTime(text)
		return reflect.ValueOf(at), err
	case typeRate:
		r, err := parseRate(text)
		return reflect.ValueOf(r), err
	case typeSecretRef:
		r, err := parseSecretRef(text)
		return reflect.ValueOf(r), err
	case typeRedisURL:
		u, err := parseRedisURL(text)
		return reflect.ValueOf(u), err
	case typeSwitch:
		if b, ok := parseBool(text); ok {
			text = strconv.FormatBool(b)
		}
	}
	out := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Bool:
		b, ok := parseBool(text)
		if !ok {
			return out, bad(shown(text), "expected true or false"+meant(text, []string{"true", "false"}))
		}
		out.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return out, bad(shown(text), "expected a whole number"+bounds(f))
		}
		if lo, err := strconv.Atoi(f.min); err == nil && n < lo {
			return out, bad(shown(text), "expected a whole number"+bounds(f))
		}
		if hi, err := strconv.Atoi(f.max); err == nil && n > hi {
			return out, bad(shown(text), "expected a whole number"+bounds(f))
		}
		out.SetInt(int64(n))
	default:
		s, err := parseString(text, f)
		out.SetString(s)
		return out, err
	}
	return out, nil
}

func parseString(text string, f field) (string, error) {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "", bad("control characters or line breaks", "expected one line of text")
	}
	if f.url != "" {
		if _, err := parseURL(text, f.url); err != nil {
			return "", err
		}
	}
	if len(f.enum) == 0 || slices.Contains(f.enum, text) {
		return text, nil
	}
	if f.fold {
		for _, e := range f.enum {
			if strings.EqualFold(e, text) {
				return e, nil
			}
		}
	}
	return "", bad(shown(text), "expected "+orList(f.enum)+meant(text, f.enum))
}

// parseBool accepts what environments of this kind hold.
func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on":
		return true, true
	case "false", "0", "no", "off":
		return false, true
	}
	return false, false
}

// parseDuration reads 90s or 1h30m; a plain number is seconds.
func parseDuration(text string, f field) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.Atoi(text); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
		if d/time.Second != time.Duration(n) {
			err = strconv.ErrRange
		}
	}
	lo, loErr := time.ParseDuration(f.min)
	hi, hiErr := time.ParseDuration(f.max)
	if err != nil || loErr == nil && d < lo || hiErr == nil && d > hi {
		return 0, bad(shown(text), "expected a duration such as 90s or 1h30m, or a number of seconds"+bounds(f))
	}
	return d, nil
}

// parseTime reads a full-date or a date-time of RFC 3339 section 5.6. A date is
// its first instant in UTC: who warns ahead of it should rather be early.
func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, bad(shown(text), "expected a date such as 2027-03-01, or a time such as 2027-03-01T12:00:00Z (RFC 3339)")
}

// parseRate reads 30/1m. "off" is a boolean to YAML 1.1 and its readers.
func parseRate(text string) (limit.Rate, error) {
	if off, ok := parseBool(text); ok && !off && text != "0" {
		text = "off"
	}
	r, err := limit.ParseRate(text)
	if err != nil {
		return r, bad(shown(text), err.Error())
	}
	return r, nil
}

// parseURL accepts an absolute http or https URL without credentials and
// fragment. Whether plain http is allowed is decided when all keys are known.
func parseURL(text, kind string) (*url.URL, error) {
	want := map[string]string{
		"issuer":   "expected an issuer such as https://id.example.com, without query (OpenID Connect Discovery 1.0, section 3)",
		"endpoint": "expected a URL such as https://id.example.com/token",
		"base":     "expected a base URL such as https://notes.internal:8443/v1, without query",
	}[kind]
	u, err := url.Parse(text)
	if err != nil {
		return nil, bad("a URL that can't be read", want)
	}
	switch {
	case u.User != nil:
		return nil, bad("a URL with credentials in it (not shown)", want+"; credentials have keys of their own")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return nil, bad(shown(text), want)
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, bad("a URL with a fragment", want)
	case kind != "endpoint" && (u.RawQuery != "" || u.ForceQuery):
		return nil, bad("a URL with a query", want)
	case u.Path != "" && route.Canonical(u.EscapedPath()) != nil:
		return nil, bad("a URL with an ambiguous path: "+route.Canonical(u.EscapedPath()).Error(), want)
	}
	if issuer := withoutDocument(text); kind == "issuer" && issuer != text {
		return nil, bad("the address of the issuer's metadata", "expected the issuer itself: "+shown(issuer)+", or as the document there names itself")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, bad(shown(text), want+"; a port is 1 to 65535")
		}
	}
	return u, nil
}

// withoutDocument is an issuer without the address of its metadata at the end, which is
// made of it (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3).
func withoutDocument(text string) string {
	bare := strings.TrimRight(text, "/")
	for _, document := range []string{"openid-configuration", "oauth-authorization-server"} {
		if issuer, ok := strings.CutSuffix(bare, "/.well-known/"+document); ok {
			return issuer
		}
	}
	return text
}

func parsePrefix(text string) (netip.Prefix, error) {
	const want = "expected a CIDR such as 10.0.0.0/8 or fd00::/8, or an address"
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, bad(shown(text), want)
	case p.Addr().Is4In6():
		return netip.Prefix{}, bad(shown(text), "expected an IPv4 network written as IPv4, as in 10.0.0.0/8")
	case p.Bits() == 0:
		return netip.Prefix{}, bad(shown(text), "expected your proxies' networks, not everybody: a client could then forge its address and host")
	case p != p.Masked():
		return netip.Prefix{}, bad(shown(text), fmt.Sprintf("expected the network's first address: %s", p.Masked()))
	case p.Addr().Is4() && p.Bits() < 8, p.Addr().Is6() && p.Bits() < 16 && !uniqueLocal(p):
		return netip.Prefix{}, bad(shown(text), "expected your proxies' networks, of 8 bits or more (IPv6: 16): whoever is in it can forge addresses and hosts")
	}
	return p, nil
}

// uniqueLocal says whether a network is of fc00::/7 (RFC 4193 section 3.1), which
// is to IPv6 what 10.0.0.0/8 is to IPv4.
func uniqueLocal(p netip.Prefix) bool { return p.Bits() >= 7 && p.Addr().IsPrivate() }

// splitList cuts a list that is written in one string.
func splitList(text, how string) ([]string, error) {
	switch how {
	case "space":
		return strings.Fields(text), nil
	case "json":
		var list []string
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, bad(shown(text), `expected a JSON array of strings, such as ["https://app.example.com"]`)
		}
		return list, nil
	}
	// People leave spaces after commas, and a comma at the end.
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }), nil
}

// bounds tells min and max.
func bounds(f field) string {
	switch {
	case f.min != "" && f.max != "":
		return ", " + f.min + " to " + f.max
	case f.min != "":
		return ", at least " + f.min
	}
	return ""
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// shown quotes a value for a message, shortened. What looks like a URL with
// credentials is not shown.
func shown(text string) string {
	if strings.Contains(text, "@") || strings.Contains(text, "-----BEGIN") {
		return "a value that may hold a secret (not shown)"
	}
	if r := []rune(text); len(r) > 60 {
		text = string(r[:60]) + "…"
	}
	return strconv.Quote(text)
}

// isLoopback says whether a URL's host is this machine.
func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 section 6.3
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

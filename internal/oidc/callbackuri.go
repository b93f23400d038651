package oidc

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"keyway/internal/problem"
)

// Callback knows our own address at which providers answer. It is a pure value.
type Callback struct {
	// Static is the whole URL (BFF_CALLBACK_URL). Where it is set and Dynamic is
	// not, it is always used.
	Static string
	// Dynamic builds the URL from the host of each request, if that is one of
	// AllowedHosts (BFF_DYNAMIC_CALLBACK, BFF_ALLOWED_REDIRECT_HOSTS).
	Dynamic bool
	// AllowedHosts are compared whole, with the port if there is one; only case
	// is ignored.
	AllowedHosts []string
	// DefaultScheme and DefaultHost are used for any other host
	// (BFF_DEFAULT_SCHEME, BFF_DEFAULT_HOST). Scheme defaults to https.
	DefaultScheme, DefaultHost string
	// Path defaults to /auth/callback.
	Path string
}

// URI is the redirect_uri for a request that came with this scheme and host,
// both as the gateway believes them. No part of it is taken from the request
// unless it is in the list, so a made-up Host header leads nowhere. The error
// is of the kind ErrHost.
func (c Callback) URI(scheme, host string) (string, error) {
	if c.Static != "" && !c.Dynamic {
		return c.Static, nil
	}
	path := c.Path
	if path == "" {
		path = "/auth/callback"
	}
	if c.Dynamic {
		i := slices.IndexFunc(c.AllowedHosts, func(allowed string) bool { return strings.EqualFold(allowed, host) })
		// http is for loopback, or where the operator made it the default.
		if i >= 0 && (scheme == "https" || scheme == "http" && (c.DefaultScheme == "http" || loopback(hostname(host)))) {
			return scheme + "://" + strings.ToLower(c.AllowedHosts[i]) + path, nil
		}
	}
	switch {
	case c.Static != "":
		return c.Static, nil
	case c.DefaultHost != "":
		return defaultTo(c.DefaultScheme, "https") + "://" + strings.ToLower(c.DefaultHost) + path, nil
	}
	return "", fail(problem.BadRequest, ErrHost, "%.100q with scheme %.10q is not one of the allowed hosts, and there is no default", host, scheme)
}

// Check finds mistakes of configuration.
func (c Callback) Check() error {
	switch {
	case c.Static == "" && !c.Dynamic && c.DefaultHost == "":
		return fmt.Errorf("callback: expected a callback URL, or a dynamic one with allowed hosts, or a default host; found none of them")
	case c.Dynamic && len(c.AllowedHosts) == 0 && c.Static == "" && c.DefaultHost == "":
		return fmt.Errorf("callback: a dynamic callback needs a list of allowed hosts, found none")
	}
	if c.Static != "" {
		if err := checkCallback("callback URL", c.Static); err != nil {
			return err
		}
	}
	for _, host := range append(slices.Clone(c.AllowedHosts), c.DefaultHost) {
		if host == "" {
			continue
		}
		if u, err := url.Parse("https://" + host); err != nil || u.Host != host || hostname(host) == "" || strings.ContainsAny(host, "*,@ ") {
			return fmt.Errorf("callback: expected a host such as app.example.com or app.example.com:8443, found %.100q", host)
		}
	}
	return nil
}

func checkCallback(name, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || strings.Contains(raw, "#") {
		return fmt.Errorf("%s: expected an absolute URL such as https://app.example.com/auth/callback, found %.200q", name, raw)
	}
	return nil
}

func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }

func defaultTo(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

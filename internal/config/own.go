package config

import "keyway/internal/route"

// reserved are the gateway's own paths. A route that could match one would be
// a route that is not asked, or one that takes over sign-in.
var reserved = []string{"/auth", "/auth/*", "/.well-known/jwks.json", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/*", "/health", "/health/*"}

// aliases are own paths inside /api, where routes live: a wildcard around them
// is fine, and does not get them.
var aliases = []string{"/api/auth/session", "/api/v1/health", "/api/v1/health/live", "/api/v1/health/ready"}

// OwnPath says whether the gateway serves an escaped path itself, whatever
// routes.yaml says.
func OwnPath(escapedPath string) bool {
	var own []route.Route
	for _, list := range [][]string{reserved, aliases} {
		for _, p := range list {
			own = append(own, route.Route{Path: p})
		}
	}
	table, err := route.NewTable(own)
	if err != nil {
		panic(err) // constants; a test builds them
	}
	_, outcome := table.Match("GET", escapedPath)
	return outcome == route.Found
}

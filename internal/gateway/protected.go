package gateway

import (
	"net/http"
	"slices"
	"strings"

	"keyway/internal/nqchar"
	"keyway/internal/problem"
	"keyway/internal/route"
)

// protectedResourcePath is where protected-resource metadata is (RFC 9728 section 3).
const protectedResourcePath = "/.well-known/oauth-protected-resource"

// maxResourcePath bounds the path that a challenge repeats.
const maxResourcePath = 1024

// resourceMetadata is that of RFC 9728 section 2.
type resourceMetadata struct {
	Resource  string   `json:"resource"`
	Issuers   []string `json:"authorization_servers"`
	Scopes    []string `json:"scopes_supported,omitempty"`
	InMethods []string `json:"bearer_methods_supported"`
}

// forMinutes lets what is the same for everybody be kept for five minutes.
var forMinutes = []string{"public, max-age=300"}

// protectedResource serves GET /.well-known/oauth-protected-resource, which is
// about all routes for bearer tokens, and what has the path of such a route behind
// it (RFC 9728 section 3.1). There is nobody's secret in it: it says where a token
// for a route is to be had, as the challenge does.
func (c *call) protectedResource() error {
	if c.gen.Bearer == nil || !c.knownHost() {
		return problem.New(problem.NotFound, nil)
	}
	path := strings.TrimPrefix(c.path, protectedResourcePath)
	routes, err := c.bearerRoutes(path)
	if err != nil {
		return err
	}
	about := resourceMetadata{Resource: c.client.Origin() + path, InMethods: []string{"header"}}
	for _, r := range routes {
		need := needOf(r)
		about.Issuers = union(about.Issuers, c.gen.Bearer.Issuers(need))
		about.Scopes = union(about.Scopes, need.Scopes)
	}
	if len(about.Issuers) == 0 {
		return problem.New(problem.NotFound, nil)
	}
	if len(c.gen.Settings.PublicHosts) > 0 {
		// Otherwise the host is whatever the request says, and nothing that a cache
		// should keep for others.
		c.w.Header()["Cache-Control"] = forMinutes
	}
	return c.writeJSON(http.StatusOK, about)
}

// bearerRoutes are the routes for bearer tokens that have a path, by whatever
// method; all of them for "".
func (c *call) bearerRoutes(path string) ([]*route.Route, error) {
	var found []*route.Route
	if path == "" {
		for _, r := range c.gen.Routes.Routes() {
			if r.Auth == route.AuthBearer {
				found = append(found, r)
			}
		}
		return found, nil
	}
	for _, method := range route.Methods() {
		match, outcome := c.gen.Routes.Match(method, path)
		switch {
		case outcome == route.Refused:
			return nil, ambiguous(match.Err)
		case outcome == route.Found && match.Route.Auth == route.AuthBearer && !slices.Contains(found, match.Route):
			found = append(found, match.Route)
		}
	}
	return found, nil
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// knownHost says whether the host that the request names is one that we are known
// under; any that is a host at all, where the configuration names none.
func (c *call) knownHost() bool {
	if hosts := c.gen.Settings.PublicHosts; len(hosts) > 0 {
		return slices.Contains(hosts, c.client.Host)
	}
	return validHost(c.client.Host)
}

// whereMetadata is the parameter of a challenge that says where the metadata of
// a path is (RFC 9728 section 5.1); nothing for a host that may not be ours, which
// a client must not be sent to.
func (c *call) whereMetadata(path string) string {
	if !c.knownHost() || len(path) > maxResourcePath || !nqchar.Only(path) {
		return ""
	}
	return `, resource_metadata="` + c.client.Origin() + protectedResourcePath + path + `"`
}

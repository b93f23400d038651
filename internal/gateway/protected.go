package gateway

import "keyway/internal/problem"

// protectedResourcePath is where protected-resource metadata is (RFC 9728 section 3).
const protectedResourcePath = "/.well-known/oauth-protected-resource"

// protectedResource serves GET /.well-known/oauth-protected-resource.
func (c *call) protectedResource() error { return problem.New(problem.NotFound, nil) }

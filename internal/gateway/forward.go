package gateway

// forwardAuth serves GET /auth/forward.
func (c *call) forwardAuth() error { return c.verify() }

package gateway

import "keyway/internal/problem"

// backchannelLogout serves POST /auth/backchannel-logout.
func (c *call) backchannelLogout() error { return problem.New(problem.NotFound, nil) }

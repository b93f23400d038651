package authzen

// Accounts is of how many accounts is remembered that they had failures.
func Accounts(c *Client) int {
	c.breaker.mu.Lock()
	defer c.breaker.mu.Unlock()
	return len(c.breaker.of)
}

// Answers is what the breaker asks before it leaves the server alone.
func Answers(c *Client) bool { return c.answers() }

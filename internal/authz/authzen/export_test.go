package authzen

// Accounts is of how many accounts is remembered that they had failures.
func Accounts(c *Client) int {
	c.breaker.mu.Lock()
	defer c.breaker.mu.Unlock()
	return len(c.breaker.of)
}

package oidc

// Forget forgets that the PAR endpoint was silent, for tests of what it said.
func (p *Provider) Forget() {
	p.pushes.mu.Lock()
	defer p.pushes.mu.Unlock()
	p.pushes.silences = 0
}

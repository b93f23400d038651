package limit

// Held is how many prefixes are held, those that are over included.
func (l *Limiter) Held() int { return l.own.at.len() + l.spent.len() }

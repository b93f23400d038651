package fleet

// FailWrites has every write stop where step returns an error, as a process that
// dies there would.
func (f *Folder) FailWrites(step func(string) error) { f.step = step }

// Jitter and RetryAfter are tested as the pure functions that they are.
var (
	Jitter     = jitter
	RetryAfter = retryAfter
)

package admin

import (
	"fmt"
	"log/slog"
	"sync"

	"keyway/internal/secret"
)

// TokenFile reads the bearer token of the API from a file, now and again for each
// request, so that a token that is replaced counts at once and the old one no
// more. It fails if there is no token of at least 32 bytes there now. A file that
// can't be read later, or holds no such token, leaves the last good one in force,
// and is logged. What it returns is for [Options.Token], and safe for concurrent
// use.
func TokenFile(path string, log *slog.Logger) (func() (secret.Value, bool), error) {
	f := &tokenFile{path: path, log: log}
	token, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("the token of the admin API: %w", err)
	}
	f.good = token
	return f.token, nil
}

type tokenFile struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	good    secret.Value
	trouble string // that was logged last
}

func (f *tokenFile) read() (secret.Value, error) {
	found, err := secret.Finder{}.Read(f.path)
	if err != nil {
		return secret.Value{}, err
	}
	if err := secret.CheckStrength(f.path, found.Value); err != nil {
		return secret.Value{}, err
	}
	return found.Value, nil
}

func (f *tokenFile) token() (secret.Value, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	token, err := f.read()
	if err != nil {
		if text := err.Error(); text != f.trouble {
			f.trouble = text
			f.log.Error("the token file of the admin API can't be used; the token that it held last stays in force", "error", text)
		}
		return f.good, true
	}
	f.good, f.trouble = token, ""
	return token, true
}

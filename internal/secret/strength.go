package secret

import "fmt"

// MinimumBytes is the least length of a secret that Keyway issues with
// (salts, and keys of sessions, CSRF tokens and login states).
const MinimumBytes = 32

// minimumDistinct is a floor against keys that only look long ("aaaa…",
// "00000000…"). Random hexadecimal of 32 characters has fewer than 8 distinct
// ones about once in 10^5, of 64 characters about never.
const minimumDistinct = 8

// WeakError says why a secret is refused. It never says what the secret is.
type WeakError struct {
	Name  string // e.g. TOKEN_HASH_SALT
	Found string // what was found, in words that give nothing away
}

func (e *WeakError) Error() string {
	return fmt.Sprintf("%s is too weak: expected at least %d bytes of random data, found %s; make one with: openssl rand -base64 48",
		e.Name, MinimumBytes, e.Found)
}

// CheckStrength refuses a value that could be guessed: one that is short, or
// that repeats a handful of characters. The error is a *WeakError.
func CheckStrength(name string, v Value) error {
	if v.Len() < MinimumBytes {
		return &WeakError{Name: name, Found: fmt.Sprintf("%d bytes", v.Len())}
	}
	var seen [256]bool
	distinct := 0
	for _, b := range v.Reveal() {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
	}
	if distinct < minimumDistinct {
		return &WeakError{Name: name, Found: fmt.Sprintf("%d bytes with only %d different among them", v.Len(), distinct)}
	}
	return nil
}

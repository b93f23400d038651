package app

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/seal"
	"keyway/internal/secret"
)

// ListenError says why a listener could not be opened.
type ListenError struct {
	Listener string // "public" or "admin"
	Addr     string // what was asked for: host and port
	Err      error
}

// Error says what is wrong, and which setting to change.
func (e *ListenError) Error() string {
	return fmt.Sprintf("the %s listener: %s; %s", e.Listener, e.Reason(), e.cure())
}

// Unwrap returns what the operating system said.
func (e *ListenError) Unwrap() error { return e.Err }

// Reason says what is wrong, for who chose the address in another way than
// serve does.
func (e *ListenError) Reason() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return e.Addr + " is in use by another process"
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return e.host() + " is not an address of this machine"
	case errors.Is(e.Err, syscall.EACCES):
		return "this process may not listen on " + e.Addr
	case isDNS(e.Err):
		return "no address is known for the host " + e.host()
	}
	return fmt.Sprintf("can't listen on %s: %v", e.Addr, e.Err)
}

func (e *ListenError) cure() string {
	host, port := "HOST", "PORT"
	if e.Listener == "admin" {
		host, port = "BFF_ADMIN_ADDR", "BFF_ADMIN_ADDR"
	}
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return "end it, or choose another " + port
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL), isDNS(e.Err):
		return "expected one of its addresses, localhost, or 0.0.0.0 for all of them in " + host
	case errors.Is(e.Err, syscall.EACCES):
		return "ports below 1024 want a privilege: choose one from 1024 on in " + port
	}
	return "see " + port
}

func (e *ListenError) host() string {
	host, _, _ := net.SplitHostPort(e.Addr)
	return cmp.Or(host, e.Addr)
}

func isDNS(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

// boardKeys are those of redis.Board's entries.
const boardKeys = "keyway:b:*"

// isForeign reports whether what is in the store was sealed under something that
// this replica was not given.
func isForeign(err error) bool {
	_, sealed := errors.AsType[*fleet.SealedError](err)
	return sealed || errors.Is(err, keyring.ErrUnknownVersion) || errors.Is(err, keyring.ErrRetired) || errors.Is(err, seal.ErrForged)
}

// withCure says what is left to do about a fleet whose rings nobody can open.
func withCure(err error) error {
	if !isForeign(err) {
		return err
	}
	return fmt.Errorf("%w\nIf nobody has any of those any more: stop every replica, delete the keys "+boardKeys+
		" in Redis (or the folder fleet in BFF_KEYS_DIR), and start again: all users then have to sign in again", err)
}

// secretsError is everything that is wrong with the secrets that were handed
// in, so that one try is enough to learn it.
type secretsError struct {
	problems []error
	dir      string // the folder that was looked in
	missing  bool   // some are not set, and Keyway could make them
	shared   bool   // replicas share a store, so that the salt must be handed in
}

func (e *secretsError) Error() string {
	var b strings.Builder
	if len(e.problems) > 1 {
		fmt.Fprintf(&b, "%d secrets are not as they must be:", len(e.problems))
	}
	notSet := false
	for _, problem := range e.problems {
		if len(e.problems) > 1 {
			b.WriteString("\n  ")
		}
		if missing, ok := errors.AsType[*secret.NotFoundError](problem); ok {
			b.WriteString(missing.Name + " is required, and is not set")
			notSet = true
			continue
		}
		b.WriteString(problem.Error())
	}
	if notSet {
		b.WriteString("\nA secret is looked for in the file that NAME_FILE names, in the environment as NAME, and in the folder " + e.dir + " by its name in lower case." +
			"\nMake one with: openssl rand -base64 48")
	}
	if notSet && e.shared {
		b.WriteString("\nReplicas that share a Redis must all be given the same one.")
	}
	if e.missing {
		b.WriteString("\nOr let Keyway make and keep what is not set")
		if e.shared {
			b.WriteString(" (but for TOKEN_HASH_SALT, by which replicas find each other's sessions)")
		}
		b.WriteString(", with `secrets: managed` in settings.yaml.")
	}
	return b.String()
}

func (e *secretsError) Unwrap() []error { return e.problems }

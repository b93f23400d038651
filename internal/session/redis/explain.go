package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

// AwayError says that Redis could not be asked, or did not answer: what was asked for
// can't be known, and of a change not whether it was made.
type AwayError struct {
	what string // that we did
	err  error
}

func (e *AwayError) Error() string { return "session store: " + e.what + ": " + e.err.Error() }
func (e *AwayError) Unwrap() error { return e.err }

// StoreAway is why, for whoever runs Redis: without what we did meanwhile, and without
// anything of a password.
func (e *AwayError) StoreAway() error { return e.err }

// explained is an error in words of REDIS_URL, which is what an operator can change.
// The URL itself is never in it: it has the password.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

const passwordForm = "redis://:PASSWORD@host:6379 (or USER:PASSWORD@; what is special in it percent-encoded)"

// explain has what Redis says of the password said with the cure, and of no answer how
// long it was waited for, if within is known.
func explain(err error, within time.Duration) error {
	re, ok := errors.AsType[*rueidis.RedisError](err)
	if !ok {
		if within > 0 && errors.Is(err, context.DeadlineExceeded) {
			return &explained{"no answer within " + within.String(), err}
		}
		return err
	}
	switch text := re.Error(); {
	case strings.HasPrefix(text, "NOAUTH"):
		return &explained{"it wants a password: put it into REDIS_URL, as in " + passwordForm, err}
	case strings.HasPrefix(text, "WRONGPASS"):
		return &explained{"it does not take the password, or the user, in REDIS_URL: put the right one there, as in " + passwordForm, err}
	}
	return err
}

// explainDial has the two ways to mistake TLS said, when a first connection fails as it
// does then. A Redis without TLS waits for the end of a line in what is TLS's hello, or
// answers that in its own words; one with TLS hangs up on a command.
func explainDial(err error, byTLS bool) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return err // nobody was there to speak with
	}
	if byTLS {
		_, strange := errors.AsType[tls.RecordHeaderError](err)
		if strange || errors.Is(err, context.DeadlineExceeded) {
			return &explained{"no TLS is spoken there (" + err.Error() + "): is it a Redis without TLS? Then redis:// in REDIS_URL, not rediss://", err}
		}
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || strings.HasSuffix(err.Error(), "unknown message type: 21") { // a TLS alert (RFC 8446 section 6)
		return &explained{"it hangs up on what Redis speaks (" + err.Error() + "): is it a Redis with TLS? Then rediss:// in REDIS_URL, not redis://", err}
	}
	return err
}

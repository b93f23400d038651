package authzen

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"keyway/internal/authz"
)

// breaker leaves the server alone after failures in a row. What fails may be the
// questions of one account only: that account is left without answers then, and
// nobody else. Whether the server is away for all is not concluded from what users
// ask; it is asked for, with a question that none of them has made. Safe for
// concurrent use.
type breaker struct {
	failures int
	openFor  time.Duration
	// answers asks the server something of our own, and reports whether it answers.
	answers func() bool

	mu      sync.Mutex
	of      map[string]*gobreaker.CircuitBreaker[[]byte] // by account: who had a failure lately
	row     int                                          // failures since anybody had an answer
	till    time.Time                                    // when it is tried again; zero: it is not left alone
	probing bool
	last    error // the last failure: why it is left alone
}

// maxAccounts bounds how many accounts are remembered to have had failures. Beyond,
// some other is forgotten, and may ask again.
const maxAccounts = 1000

func newBreaker(failures int, openFor time.Duration, answers func() bool) *breaker {
	return &breaker{failures: failures, openFor: openFor, answers: answers, of: make(map[string]*gobreaker.CircuitBreaker[[]byte])}
}

// isFailure says whether an error is the server's. An answer that can't be used, and
// a refusal, are answers.
func isFailure(err error) bool { return errors.Is(err, ErrUnavailable) && !saysNothing(err) }

// saysNothing says whether an error tells nothing about the server: the caller went
// away, or it failed at this question, and may answer all others.
func saysNothing(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, errFailedAtIt)
}

// isNobodys says whether a failure is one that no question can be blamed for: the server
// never got it.
func isNobodys(err error) bool {
	_, noToken := errors.AsType[*noTokenError](err)
	return noToken || errors.Is(err, errNoConnection)
}

// guard asks, or fails with errOpen.
func (b *breaker) guard(account string, ask func() ([]byte, error)) ([]byte, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	counted := func() ([]byte, error) {
		answer, err := ask()
		b.count(err)
		return answer, err
	}
	own := b.ownOf(account, false)
	if own == nil {
		answer, err := counted()
		if isFailure(err) && !isNobodys(err) {
			_, _ = b.ownOf(account, true).Execute(func() ([]byte, error) { return nil, err })
		}
		return answer, err
	}
	answer, err := own.Execute(counted)
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return nil, b.why(errOpenToOne)
	case err == nil:
		b.forget(account)
	}
	return answer, err
}

// enter fails while the server is left alone. When that is over, one question goes
// there, and ours with it: whichever is answered first ends it for all.
func (b *breaker) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.till.IsZero():
		return nil
	case b.probing || time.Now().Before(b.till):
		return because(errOpen, b.last)
	}
	b.probe()
	return nil
}

// count counts what came of a question, whoever's it was.
func (b *breaker) count(err error) {
	if saysNothing(err) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !isFailure(err) {
		b.row, b.till = 0, time.Time{}
		return
	}
	b.row, b.last = b.row+1, err
	if b.till.IsZero() && b.row >= b.failures && !b.probing {
		b.probe()
	}
}

// probe has the server asked, by somebody who does not keep a user waiting. b.mu is
// held.
func (b *breaker) probe() {
	b.probing = true
	go func() {
		answers := b.answered()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.probing = false
		switch {
		case answers:
			b.row, b.till = 0, time.Time{}
		case b.row >= b.failures: // nobody else had an answer meanwhile
			b.till = time.Now().Add(b.openFor)
			clear(b.of) // it was nobody's questions
		}
	}()
}

// answered is answers, of which a defect is no answer, and not the end of the process:
// nobody else would catch it.
func (b *breaker) answered() (yes bool) {
	defer func() {
		if recover() != nil {
			yes = false
		}
	}()
	return b.answers()
}

// ownOf is what counts the failures of one account. nil: it has none, and none was
// to be added.
func (b *breaker) ownOf(account string, add bool) *gobreaker.CircuitBreaker[[]byte] {
	b.mu.Lock()
	defer b.mu.Unlock()
	own := b.of[account]
	if own != nil || !add {
		return own
	}
	for other := range b.of {
		if len(b.of) < maxAccounts {
			break
		}
		delete(b.of, other)
	}
	own = gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
		Timeout:      b.openFor,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return int(n.ConsecutiveFailures) >= b.failures },
		IsSuccessful: func(err error) bool { return !isFailure(err) },
		IsExcluded:   func(err error) bool { return saysNothing(err) || isNobodys(err) },
	})
	b.of[account] = own
	return own
}

// forget is for who has had an answer.
func (b *breaker) forget(account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, account)
}

// errOpen is that the server was not asked, and errOpenToOne that it was not asked by
// this account.
var (
	errOpen      = fmt.Errorf("%w: it failed several times in a row, and is left alone for a while", ErrUnavailable)
	errOpenToOne = fmt.Errorf("%w: it failed several times in a row at what this account asks, which is left without answers for a while", ErrUnavailable)
)

// because is errOpen or errOpenToOne with the last failure, which is what operators
// look for; nil: it is not known.
func because(open, last error) error {
	if last == nil {
		return open
	}
	return fmt.Errorf("%w; the last time: %s", open, strings.TrimPrefix(last.Error(), ErrUnavailable.Error()+": "))
}

func (b *breaker) why(open error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return because(open, b.last)
}

// isOpen says whether the server was not asked.
func isOpen(err error) bool { return errors.Is(err, errOpen) || errors.Is(err, errOpenToOne) }

// accountIn is whose a question is.
func accountIn(q *authz.Question) string {
	provider, _ := q.Subject.Properties["provider"].(string)
	return fmt.Sprintf("%q %q %q", q.Subject.Type, provider, q.Subject.ID)
}

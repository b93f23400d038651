package authz

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"keyway/internal/principal"
)

// ErrBusy is that too many questions are under way, of all or of who asks.
var ErrBusy = errors.New("authz: too many questions wait for an answer already")

// account is whose a question is. His sessions are counted together.
type account = string

func accountOf(who *principal.Principal) account { return who.Account() }

// waits counts the questions that are under way, and has each account ask a few at a
// time: a decision point has so many connections, and one who knows questions at which
// it hangs must not hold them all. Safe for concurrent use.
type waits struct {
	most, each, asking int

	mu  sync.Mutex
	all int
	of  map[account]*places // those who have any
}

// places are what one account has.
type places struct {
	n    int
	turn chan struct{} // full: as many are asked as may be
}

// enter counts one more, until leave, and returns when it may be asked.
func (w *waits) enter(ctx context.Context, who account) (leave func(), err error) {
	p, err := w.take(who)
	if err != nil {
		return nil, err
	}
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn; w.giveBack(who, p) }, nil
	case <-ctx.Done():
		w.giveBack(who, p)
		return nil, fmt.Errorf("%w: of this account, some have none yet: %w", ErrBusy, context.Cause(ctx))
	}
}

func (w *waits) take(who account) (*places, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.of[who]
	if w.all >= w.most || p != nil && p.n >= w.each {
		return nil, ErrBusy
	}
	if p == nil {
		p = &places{turn: make(chan struct{}, w.asking)}
		w.of[who] = p
	}
	p.n++
	w.all++
	return p, nil
}

func (w *waits) giveBack(who account, p *places) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if p.n--; p.n == 0 {
		delete(w.of, who)
	}
}

package authz

import (
	"errors"
	"sync"

	"keyway/internal/principal"
)

// ErrBusy is that too many questions are under way, of all or of who asks.
var ErrBusy = errors.New("authz: too many questions wait for an answer already")

// account is whose a question is. His sessions are counted together.
type account = string

func accountOf(who *principal.Principal) account { return who.Account() }

// waits counts the questions that are under way. Safe for concurrent use.
type waits struct {
	most, each int

	mu  sync.Mutex
	all int
	of  map[account]int // those who have any
}

// enter counts one more, until leave.
func (w *waits) enter(who account) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= w.most || w.of[who] >= w.each {
		return nil, ErrBusy
	}
	w.all++
	w.of[who]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all--
		if w.of[who]--; w.of[who] == 0 {
			delete(w.of, who)
		}
	}, nil
}

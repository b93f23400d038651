package app

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"keyway/internal/admin"
	"keyway/internal/audit"
	"keyway/internal/fleet"
)

const (
	// policiesEntry is what the board keeps of when policies were last said to have
	// changed: its revision is what counts.
	policiesEntry = "policies"
	// policiesLook is how often a replica looks at it, whether or not it was told to.
	policiesLook = 800 * time.Millisecond
	// policiesWithin bounds one look.
	policiesWithin = 5 * time.Second
)

// policies tells the fleet that policies have changed, and hears of it.
type policies struct {
	a    *app
	wake chan struct{}

	mu    sync.Mutex
	known bool
	seen  fleet.Revision
}

var _ admin.Policies = (*policies)(nil)

func newPolicies(a *app) *policies { return &policies{a: a, wake: make(chan struct{}, 1)} }

// Changed implements admin.Policies. Here everything is forgotten at once, also when
// the others can't be told.
func (p *policies) Changed(ctx context.Context, by string) error {
	p.a.forgetDecisions()
	p.a.record(audit.Event{Type: audit.TypePolicies, Actor: by})
	_, at, err := p.a.board.Get(ctx, policiesEntry)
	if err != nil {
		return err
	}
	// Who is faster says the same, and after we were asked.
	if _, err := p.a.board.CompareAndSet(ctx, policiesEntry, at, []byte(rand.Text())); err != nil && !errors.Is(err, fleet.ErrConflict) {
		return err
	}
	return nil
}

// Wake has it look at once.
func (p *policies) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run looks until ctx ends. A word that was lost costs the time until the next look.
func (p *policies) run(ctx context.Context) {
	if p.a.resources.authorizing == nil || !p.a.shared {
		<-ctx.Done()
		return
	}
	if board, ok := p.a.board.(fleet.Watcher); ok {
		defer board.Watch(func(name string) {
			if name == policiesEntry || name == "" {
				p.Wake()
			}
		})()
	}
	look := time.NewTicker(policiesLook)
	defer look.Stop()
	for {
		p.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-p.wake:
		}
	}
}

// look forgets what was decided if the board has another revision than it had. A store
// that lost its data has another, too.
func (p *policies) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, policiesWithin)
	defer cancel()
	_, at, err := p.a.board.Get(ctx, policiesEntry)
	if err != nil {
		return // others tell that the store is away
	}
	p.mu.Lock()
	changed := p.known && p.seen != at
	p.known, p.seen = true, at
	p.mu.Unlock()
	if changed {
		p.a.forgetDecisions()
		p.a.log.Info("policies were said to have changed; what was decided is forgotten")
	}
}

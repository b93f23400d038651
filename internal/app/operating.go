package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"keyway/internal/admin"
	"keyway/internal/audit"
	"keyway/internal/secret"
	"keyway/internal/session"
)

// operating is how an operator finds and ends sessions of users.
type operating struct {
	a      *app
	revoke revoking
}

var _ admin.Sessions = (*operating)(nil)

// newOperating is there until the resources are closed, which waits for tokens that
// are being revoked.
func (a *app) newOperating() *operating {
	o := &operating{a: a}
	a.resources.close = append(a.resources.close, func() error { o.revoke.wait(revokeGoodbye); return nil })
	return o
}

func (o *operating) whose(w admin.Whose) session.Whose {
	if w.Issuer == "" {
		w.Issuer = o.a.config.OIDC.Issuer
	}
	return session.Whose{Issuer: w.Issuer, Subject: w.Subject, SID: w.SID}
}

// List implements admin.Sessions.
func (o *operating) List(ctx context.Context, w admin.Whose, most int) ([]admin.Session, bool, error) {
	options := session.ListOptions{Most: most}
	if w != (admin.Whose{}) {
		options.Whose = o.whose(w)
	}
	found, more, err := o.a.sessions().List(ctx, options)
	if err != nil {
		return nil, false, err
	}
	shown := make([]admin.Session, len(found))
	for i, s := range found {
		shown[i] = admin.Session{
			PublicID: s.PublicID, Provider: s.Provider, Issuer: s.Issuer, Subject: s.Subject, Email: s.Email, Name: s.Name,
			CreatedAt: s.CreatedAt.UTC(), AuthTime: s.AuthTime.UTC(), ExpiresAt: s.Expires.UTC(), AbsoluteExpiresAt: s.AbsoluteExpiry.UTC(),
		}
	}
	return shown, more, nil
}

// End implements admin.Sessions.
func (o *operating) End(ctx context.Context, publicID, by string) (bool, error) {
	rec, err := o.a.sessions().EndByPublicID(ctx, publicID)
	if errors.Is(err, session.ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	o.ended([]session.Record{rec}, by, "one session")
	return true, nil
}

// EndAll implements admin.Sessions.
func (o *operating) EndAll(ctx context.Context, w admin.Whose, by string) (int, error) {
	records, err := o.a.sessions().EndAll(ctx, o.whose(w), time.Time{})
	reason := "all sessions of a subject"
	if w.SID != "" {
		reason = "all sessions of a sid"
	}
	o.ended(records, by, reason)
	return len(records), err
}

// recordedEach is how many ends of one request are in the record one by one: what
// waits for it is bounded, and the rest of an incident is to find room there, too.
const recordedEach = 200

// ended tells others: the metric, the record, and the provider, for which nobody
// waits. The record of secrets gets no user data.
func (o *operating) ended(records []session.Record, by, reason string) {
	if len(records) == 0 {
		return
	}
	for i, r := range records {
		o.a.resources.metrics.SessionDestroyed("operator")
		if i < recordedEach {
			o.record(by, map[string]any{"public_id": r.PublicID, "reason": reason})
		}
	}
	if more := len(records) - recordedEach; more > 0 {
		o.record(by, map[string]any{"more": more, "reason": reason})
	}
	if rp := o.a.current.Load().generation.SignIn; rp != nil {
		o.revoke.begin(o.a.log, records, rp, func(failed int, err error) {
			o.a.log.Info("refresh tokens of sessions that an operator ended could not be revoked", "count", failed, "error", err.Error())
		})
	}
}

func (o *operating) record(by string, data map[string]any) {
	o.a.record(audit.Event{Type: audit.TypeSessionEnded, Actor: by, Data: object(data)})
}

const (
	revokeAllWithin = 15 * time.Second
	revokeOneWithin = 5 * time.Second
	revokeHands     = 4
	revokeGoodbye   = 3 * time.Second
)

// revoker is a provider that can be told: *oidc.RelyingParty.
type revoker interface {
	Revoke(ctx context.Context, token secret.Value, hint string) error
}

// revoking has the provider forget tokens (RFC 7009), beside whoever asked for it.
// The zero value is ready.
type revoking struct {
	mu     sync.Mutex
	closed bool
	next   int
	work   sync.WaitGroup
	cancel map[int]context.CancelFunc // of what is under way
}

// begin revokes the refresh tokens of records, a few at once. A provider that fails
// is not asked for the rest, which expire. failed is told of it.
func (r *revoking) begin(log *slog.Logger, records []session.Record, rp revoker, failed func(count int, err error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeAllWithin)
	if r.cancel == nil {
		r.cancel = map[int]context.CancelFunc{}
	}
	id := r.next
	r.next++
	r.cancel[id] = cancel
	r.work.Go(func() {
		defer func() {
			cancel()
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.cancel, id)
		}()
		if left, err := revokeEach(ctx, log, records, rp); err != nil {
			failed(left, err)
		}
	})
}

var errRevoking = errors.New("met a defect")

func revokeEach(ctx context.Context, log *slog.Logger, records []session.Record, rp revoker) (left int, err error) {
	var mu sync.Mutex
	var hands sync.WaitGroup
	next := 0
	take := func() (session.Record, bool) {
		mu.Lock()
		defer mu.Unlock()
		for next < len(records) && err == nil {
			next++
			if rec := records[next-1]; !rec.RefreshToken.IsZero() {
				return rec, true
			}
		}
		return session.Record{}, false
	}
	for range min(revokeHands, len(records)) {
		hands.Go(func() {
			for rec, ok := take(); ok; rec, ok = take() {
				one, cancel := context.WithTimeout(ctx, revokeOneWithin)
				refused := errRevoking // unless Revoke returns
				contained(log, func() { refused = rp.Revoke(one, rec.RefreshToken, "refresh_token") })
				cancel()
				if refused != nil {
					mu.Lock()
					left++
					if err == nil {
						err = refused
					}
					mu.Unlock()
				}
			}
		})
	}
	hands.Wait()
	for _, rec := range records[next:] {
		if !rec.RefreshToken.IsZero() {
			left++
		}
	}
	return left, err
}

// wait takes nothing more, and gives what is under way so long.
func (r *revoking) wait(limit time.Duration) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	stop := time.AfterFunc(limit, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, cancel := range r.cancel {
			cancel()
		}
	})
	defer stop.Stop()
	r.work.Wait()
}

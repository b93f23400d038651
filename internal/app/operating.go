package app

import (
	"context"
	"errors"
	"time"

	"keyway/internal/admin"
	"keyway/internal/audit"
	"keyway/internal/secret"
	"keyway/internal/session"
)

// operating is how an operator finds and ends sessions of users.
type operating struct{ a *app }

var _ admin.Sessions = operating{}

func (o operating) whose(w admin.Whose) session.Whose {
	if w.Issuer == "" {
		w.Issuer = o.a.config.OIDC.Issuer
	}
	return session.Whose{Issuer: w.Issuer, Subject: w.Subject, SID: w.SID}
}

// List implements admin.Sessions.
func (o operating) List(ctx context.Context, w admin.Whose, most int) ([]admin.Session, bool, error) {
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
			PublicID: s.PublicID, Provider: s.Provider, Issuer: s.Issuer, Subject: s.Subject, SID: s.SID, Email: s.Email, Name: s.Name,
			CreatedAt: s.CreatedAt.UTC(), AuthTime: s.AuthTime.UTC(), ExpiresAt: s.Expires.UTC(), AbsoluteExpiresAt: s.AbsoluteExpiry.UTC(),
		}
	}
	return shown, more, nil
}

// End implements admin.Sessions.
func (o operating) End(ctx context.Context, publicID, by string) (bool, error) {
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
func (o operating) EndAll(ctx context.Context, w admin.Whose, by string) (int, error) {
	ending := session.Ending{Current: o.a.sessions, Missing: func(ctx context.Context, _ error) error {
		ctx, cancel := context.WithTimeout(ctx, newerWithin)
		defer cancel()
		_, err := o.a.reread(ctx)
		return err
	}}
	records, err := ending.EndAll(ctx, o.whose(w), time.Time{})
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
func (o operating) ended(records []session.Record, by, reason string) {
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
		tokens := make([]secret.Value, len(records))
		for i, r := range records {
			tokens[i] = r.RefreshToken
		}
		o.a.resources.revoker.Begin(context.Background(), rp, tokens, func(failed int, err error) {
			o.a.log.Info("refresh tokens of sessions that an operator ended could not be revoked", "count", failed, "error", err.Error())
		})
	}
}

func (o operating) record(by string, data map[string]any) {
	o.a.record(audit.Event{Type: audit.TypeSessionEnded, Actor: by, Data: object(data)})
}

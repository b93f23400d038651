package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"keyway/internal/audit"
	"keyway/internal/audit/kafka"
	"keyway/internal/audit/push"
	"keyway/internal/config"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/secret/source"
	"keyway/internal/session/redis"
	"keyway/internal/verify"
)

// segments is how many files a chain in a folder has at least when it is as old as
// the retention: what is dropped is whole files.
const segments = 20

// openAuditing makes ready what keeps the record: beside the fleet's rings, in the
// shared store or in the folder of keys.
func (a *app) openAuditing(o opener) error {
	c := a.config.Audit
	log, err := a.auditLog()
	if err != nil {
		return err
	}
	sinks, err := a.auditSinks(c, o)
	if err != nil {
		return err
	}
	signs := a.signs()
	a.recorder, err = audit.New(audit.Options{
		Log: log, Sign: signs.sign, KeyID: signs.keyID, Keys: a.entryKeys(), Replica: a.id, Sinks: sinks, Cursors: boardCursors{a.board},
		Retention: c.Retention, Leads: a.leads, Logger: a.log, Observe: a.auditObserve(sinks),
	})
	a.chronicle = newChronicle(a, a.board)
	return err
}

func (a *app) auditLog() (audit.Log, error) {
	if shared, ok := a.resources.store.(*redis.Store); ok {
		return shared.AuditLog(), nil
	}
	age := min(max(a.config.Audit.Retention/segments, time.Hour), 30*24*time.Hour)
	return audit.OpenFolder(filepath.Join(a.resources.keys.Dir(), "audit"), audit.FolderOptions{SegmentAge: age})
}

// leads reports whether this replica moves rings, and so brings the record on.
func (a *app) leads(ctx context.Context) bool {
	leads, err := a.side.Lead(ctx)
	return leads && err == nil
}

// record has an event put into the record. Nobody waits for it.
func (a *app) record(e audit.Event) {
	if a.recorder == nil || a.chronicle == nil { // not before there is one
		return
	}
	if e.Type == audit.TypeAdminRefused {
		passed, before := a.chronicle.refusals.pass(time.Now())
		if !passed {
			return
		}
		if before > 0 {
			e.Data = object(map[string]any{"not_recorded": before})
		}
	}
	a.recorder.Record(e)
}

const (
	refusalsAtOnce = 20
	refusalEvery   = 5 * time.Minute
)

// refusals bounds how many of those who may not be there get into the record. Anybody
// who reaches the admin listener can be refused, and so can each page that a browser
// here shows; the record is kept for a year, and what waits for it is bounded. The
// log has them all.
type refusals struct {
	mu    sync.Mutex
	whole time.Time // when all are allowed again
	left  int       // out, since the last one that passed
}

// pass reports whether one more gets in, and how many before it did not.
func (r *refusals) pass(now time.Time) (passed bool, before int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole.Before(now) {
		r.whole = now
	}
	if r.whole.Add(refusalEvery).After(now.Add(refusalsAtOnce * refusalEvery)) {
		r.left++
		return false, 0
	}
	r.whole, before, r.left = r.whole.Add(refusalEvery), r.left, 0
	return true, before
}

// troubled notes trouble with where a secret is handed in, and that it is over.
func (a *app) troubled(t source.Trouble) {
	a.sources.troubled(t)
	e := audit.Event{Type: audit.TypeTrouble, Secret: t.Name, Outcome: string(t.Why), Detail: t.Error()}
	if t.Over {
		e.Type = audit.TypeRecovered
	}
	a.record(e)
}

// recordVerified records what the checklist came to: of a version of one secret, or
// of whatever was asked for.
func (a *app) recordVerified(ctx context.Context, by, name, version string, r verify.Report) {
	e := audit.Event{Type: audit.TypeVerified, At: r.At, Actor: by, Secret: name, To: version, Outcome: "ok"}
	if history, err := a.runner.History(ctx, name); err == nil && version != "" {
		for _, rotated := range history.Rotations {
			if rotated.To == version {
				e.Rotation, e.From = rotated.ID, rotated.From
				break
			}
		}
	}
	failed := []string{}
	for _, c := range r.Failed() {
		if failed = append(failed, c.ID); e.Detail == "" {
			e.Detail = c.ID + ": " + c.Saw
		}
	}
	if !r.OK {
		e.Outcome = "failed"
	}
	e.Data = object(map[string]any{"checks": len(r.Checks), "failed": failed})
	a.chronicle.flush(ctx) // the rotation that it is of stands before it
	a.record(e)
}

func (a *app) auditObserve(sinks []audit.Sink) audit.Observe {
	metrics := a.resources.metrics
	for _, s := range sinks {
		metrics.AuditSink(s.Name())
	}
	return audit.Observe{
		Appended:  func(string) { metrics.AuditAppended(1) },
		Failed:    func(error) { metrics.AuditFailed() },
		Lost:      func() { metrics.AuditLost(1) },
		Cut:       metrics.AuditCut,
		Delivered: func(sink, outcome string) { metrics.AuditDelivered(sink, outcome, 1) },
	}
}

// auditSinks are where entries go besides the chain.
func (a *app) auditSinks(c config.Audit, o opener) ([]audit.Sink, error) {
	var sinks []audit.Sink
	if c.Log {
		sinks = append(sinks, audit.NewLogSink(a.log))
	}
	if c.Push.Enabled() {
		options := push.Options{URL: c.Push.URL, Issuer: a.issuer(), Audience: c.Push.Audience, Sign: a.signs().sign}
		if c.Push.Token.Kind != config.SecretNone {
			find, err := auditSecret(o, "audit.push.token", c.Push.Token)
			if err != nil {
				return nil, err
			}
			options.Token = find
		}
		sink, err := push.New(options)
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, sink)
	}
	if k := c.Kafka; k.Enabled() {
		options := kafka.Options{Brokers: k.Brokers, Topic: k.Topic, Envelope: k.Envelope, Source: a.issuer(), Username: k.Username}
		if k.TLS {
			options.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if k.Username != "" {
			find, err := auditSecret(o, "audit.kafka.password", k.Password)
			if err != nil {
				return nil, err
			}
			options.Password = find
		}
		sink, err := kafka.New(options)
		if err != nil {
			return nil, err
		}
		a.resources.close = append(a.resources.close, sink.Close)
		sinks = append(sinks, sink)
	}
	return sinks, nil
}

// auditSecret reads what a receiver asks for, again each time that it is asked for
// it, so that another one is taken up; where it can't be read any more, the last one
// stays. That it is there is checked at the start.
func auditSecret(o opener, key string, ref config.SecretRef) (func() (secret.Value, error), error) {
	first, err := o.find(ref)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	var mu sync.Mutex
	last := first.Value
	return func() (secret.Value, error) {
		mu.Lock()
		defer mu.Unlock()
		if found, err := o.find(ref); err == nil {
			last = found.Value
		}
		return last, nil
	}, nil
}

// issuer is how receivers of the record know this deployment: by where browsers find
// it, and its key set with it.
func (a *app) issuer() string {
	c := a.config.Callback
	if u := c.Static(); u != nil {
		return u.Scheme + "://" + u.Host
	}
	if len(c.AllowedRedirectHosts) > 0 {
		return c.DefaultScheme + "://" + c.AllowedRedirectHosts[0]
	}
	return "urn:keyway"
}

// signs is by the signing key in use.
func (a *app) signs() *signing {
	return &signing{ring: func() keyring.Ring { return a.current.Load().rings[nameSigningKey] }}
}

// signing signs with the active version of a ring, and parses each once. It is safe
// for concurrent use.
type signing struct {
	ring func() keyring.Ring

	mu     sync.Mutex
	signer *jwks.Signer
}

func (s *signing) now() (*jwks.Signer, error) {
	active := s.ring().Active()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signer == nil || s.signer.Version() != active.ID {
		signer, err := jwks.NewVersionSigner(active)
		if err != nil {
			return nil, err
		}
		s.signer = signer
	}
	return s.signer, nil
}

func (s *signing) sign(claims any, typ string) (string, error) {
	signer, err := s.now()
	if err != nil {
		return "", err
	}
	return signer.Sign(claims, typ, nil)
}

func (s *signing) keyID() string {
	signer, err := s.now()
	if err != nil {
		return ""
	}
	return signer.KeyID()
}

package authz

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"keyway/internal/principal"
)

// Options of NewEnforcer. PDP is needed.
type Options struct {
	PDP PDP
	// Subject is what subjects are called; SubjectAccount if empty. SubjectType is the
	// type of those who are people; SubjectUser if empty.
	Subject     SubjectForm
	SubjectType string
	// TTLAllow and TTLDeny are how long an answer is used again; 0: not at all.
	// MaxSize is how many are remembered; 0: none.
	TTLAllow, TTLDeny time.Duration
	MaxSize           int
	// Deadline bounds one question, retries and all; 5 s if 0.
	Deadline time.Duration
	// Local: the PDP is in this process, waits for nobody and answers in microseconds.
	// There is nothing to share with others who ask the same, nor to bound.
	Local bool
	// Waiting is how many questions may be under way at once; 1000 if 0. Beyond,
	// there is no answer: a decision point that hangs must not take the memory.
	Waiting int
	// WaitingEach is how many of them may be of one account; a tenth of Waiting if 0,
	// and at least one. Beyond, it has no answer, and the others do: one who asks for
	// much while the decision point is slow takes nobody's place.
	WaitingEach int
	// AskingEach is how many of those of one account the decision point is asked at
	// once; 16 if 0. The others wait for their turn, within Deadline.
	AskingEach int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Enforcer asks the PDP, and remembers what it said. It outlives generations, so
// that a rotation does not have everything asked again. Safe for concurrent use.
type Enforcer struct {
	o        Options
	subjects *subjects
	answers  *otter.Cache[key, answer] // nil: nothing is remembered
	flights  singleflight.Group
	epoch    atomic.Uint64
	changed  atomic.Pointer[chan struct{}]
	waits    waits
}

const (
	defaultWaiting = 1000
	defaultAsking  = 16
)

// Reasons of denials that nobody has decided.
const (
	reasonUnclear    = "the request can't be put into a question"
	reasonNotWhole   = "what the subject may is not known as a whole"
	reasonUnanswered = "the decision point has not answered"
)

type answer struct {
	decision *Decision
	till     time.Time
}

// NewEnforcer checks o. Close it when it is not needed any more.
func NewEnforcer(o Options) (*Enforcer, error) {
	if o.PDP == nil {
		return nil, errors.New("authz: expected a decision point, found none")
	}
	if o.TTLAllow < 0 || o.TTLDeny < 0 || o.MaxSize < 0 {
		return nil, errors.New("authz: expected times and a size of at least 0")
	}
	if o.Subject == "" {
		o.Subject = SubjectAccount
	}
	if o.SubjectType == "" {
		o.SubjectType = SubjectUser
	}
	if o.Deadline <= 0 {
		o.Deadline = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Waiting <= 0 {
		o.Waiting = defaultWaiting
	}
	if o.WaitingEach <= 0 {
		o.WaitingEach = max(o.Waiting/10, 1)
	}
	if o.AskingEach <= 0 {
		o.AskingEach = defaultAsking
	}
	e := &Enforcer{o: o, waits: waits{most: o.Waiting, each: o.WaitingEach, asking: o.AskingEach, of: map[account]*places{}}}
	e.subjects = newSubjects(naming{o.Subject, o.SubjectType}, o.PDP)
	e.changed.Store(new(make(chan struct{})))
	if o.MaxSize > 0 && max(o.TTLAllow, o.TTLDeny) > 0 {
		e.answers = otter.Must(&otter.Options[key, answer]{
			MaximumSize:      o.MaxSize,
			ExpiryCalculator: otter.ExpiryWriting[key, answer](max(o.TTLAllow, o.TTLDeny)), // frees the memory
		})
	}
	return e, nil
}

// Close ends what the cache does in the background. It closes Changed, so that
// whoever goes by an old decision asks whoever decides now.
func (e *Enforcer) Close() {
	if e.answers != nil {
		e.answers.InvalidateAll()
		e.answers.StopAllGoroutines()
	}
	e.subjects.close()
	e.tell()
}

// Changed is closed at the next Forget. Who goes by a decision for longer than a
// request takes asks again then.
func (e *Enforcer) Changed() <-chan struct{} { return *e.changed.Load() }

func (e *Enforcer) tell() { close(*e.changed.Swap(new(make(chan struct{})))) }

// Forget is for when the policies have changed: no answer from before it is used
// again, one that is under way neither.
func (e *Enforcer) Forget() {
	e.epoch.Add(1)
	if e.answers != nil {
		e.answers.InvalidateAll()
	}
	e.tell()
}

// Verdict is a decision, and how it came about.
type Verdict struct {
	Decision
	Resource Entity
	Cached   bool
}

// Decide says whether who may do what a request asks for. Whatever goes wrong on
// the way denies; the error, if any, says what it was, and is for the log.
func (e *Enforcer) Decide(ctx context.Context, who *principal.Principal, ask *Ask, f Facts, at Circumstances) (Verdict, error) {
	var v Verdict
	var err error
	if v.Resource, err = ask.Resolve(f); err != nil {
		v.Reason = reasonUnclear
		return v, err
	}
	if err := who.Whole(); err != nil {
		v.Reason = reasonNotWhole
		return v, err
	}
	epoch := e.epoch.Load()
	k, err := e.key(epoch, who, ask.action, &v.Resource, at)
	if err != nil {
		v.Reason = reasonUnclear
		return v, err
	}
	if d, ok := e.recall(k); ok {
		v.Decision, v.Cached = *d, true
		return v, nil
	}
	v.Decision, err = e.ask(ctx, k, epoch, who, e.question(who, ask.action, v.Resource, at))
	if err != nil {
		v.Decision = Decision{Reason: reasonUnanswered}
	}
	return v, err
}

// key is what the answer is found again by: the zero key if nobody looks for it.
func (e *Enforcer) key(epoch uint64, who *principal.Principal, action string, resource *Entity, at Circumstances) (key, error) {
	if e.answers == nil && e.o.Local {
		return key{}, nil
	}
	return keyOf(epoch, who, e.o.Subject, action, resource, at)
}

// recall is what is remembered.
func (e *Enforcer) recall(k key) (*Decision, bool) {
	if e.answers == nil {
		return nil, false
	}
	found, ok := e.answers.GetIfPresent(k)
	if !ok || !e.o.Now().Before(found.till) {
		return nil, false
	}
	return found.decision, true
}

// question is what a PDP is asked.
func (e *Enforcer) question(who *principal.Principal, action string, resource Entity, at Circumstances) Question {
	subject := e.subjects.get(who)
	return Question{
		Subject: subject.Entity, Prepared: subject.prepared,
		Action: Action{Name: action}, Resource: resource,
		Context: Context{
			Time:          e.o.Now().UTC().Truncate(time.Second),
			Address:       at.Address.Unmap().WithZone(""),
			CorrelationID: at.CorrelationID,
		},
	}
}

func (e *Enforcer) ask(ctx context.Context, k key, epoch uint64, who *principal.Principal, q Question) (Decision, error) {
	if e.o.Local {
		return e.askHere(ctx, k, epoch, q)
	}
	return e.askElsewhere(ctx, k, epoch, who, q)
}

// askHere asks a PDP in this process.
func (e *Enforcer) askHere(ctx context.Context, k key, epoch uint64, q Question) (d Decision, err error) {
	defer func() {
		if recover() != nil { // not the panic's own text: it may have anything
			d, err = Decision{}, errDefect
		}
	}()
	began := e.o.Now()
	if d, err = e.o.PDP.Evaluate(ctx, q); err != nil {
		return Decision{}, err
	}
	e.remember(k, epoch, d, began)
	return d, nil
}

// askElsewhere asks once for all who have the same question. Who goes away first ends
// nobody's wait but its own.
func (e *Enforcer) askElsewhere(ctx context.Context, k key, epoch uint64, who *principal.Principal, q Question) (Decision, error) {
	asker := accountOf(who) // who may be used for another request, once nobody waits here
	result := e.flights.DoChan(string(k[:]), func() (answered any, err error) {
		defer func() {
			if recover() != nil { // not the panic's own text: it may have anything
				answered, err = Decision{}, errDefect
			}
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.o.Deadline)
		defer cancel()
		leave, err := e.waits.enter(ctx, asker)
		if err != nil {
			return Decision{}, err
		}
		defer leave()
		began := e.o.Now() // what it says is true of then, at least
		d, err := e.o.PDP.Evaluate(ctx, q)
		if err != nil {
			return Decision{}, err
		}
		e.remember(k, epoch, d, began)
		return d, nil
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return Decision{}, r.Err
		}
		return r.Val.(Decision), nil
	case <-ctx.Done():
		return Decision{}, fmt.Errorf("authz: %w", context.Cause(ctx))
	}
}

var errDefect = errors.New("authz: a defect while asking; please report it")

// remember keeps an answer, never a failure.
func (e *Enforcer) remember(k key, epoch uint64, d Decision, began time.Time) {
	ttl := e.o.TTLDeny
	if d.Allow {
		ttl = e.o.TTLAllow
	}
	if e.answers == nil || ttl <= 0 || e.epoch.Load() != epoch {
		return // the key of another epoch is another key, too
	}
	kept := d // here, so that one that is not remembered is not allocated
	e.answers.Set(k, answer{&kept, began.Add(ttl)})
}

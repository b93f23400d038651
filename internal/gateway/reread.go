package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/session"
)

const (
	// rereadEvery is the least time between two readings of the sources.
	rereadEvery = time.Second
	// rereadWithin bounds one.
	rereadWithin = 5 * time.Second
	// lookedFor is how long an id that a reading did not bring is known to be
	// nobody's. Ids can't be foreseen, so what turns up later has another.
	lookedFor = 5 * time.Second
	// maxWaiting bounds the requests that wait for a reading, and the ids that are
	// remembered: anybody can make ids up.
	maxWaiting = 1000
	// maxWaitingEach bounds those of one network: whoever makes ids up must not be
	// all that is waited for. It is enough for the users behind one address; a
	// gateway that is not told its trusted proxies takes everybody for one of them.
	maxWaitingEach = 100
	// networkV4 and networkV6 are the bits that one network's addresses share: what
	// one party usually has.
	networkV4, networkV6 = 24, 48
	// maxVersion is the longest id of a version, in bytes (package keyring).
	maxVersion = 64
	// maxRounds bounds how often one request is served.
	maxRounds = 8
)

// rereads has the sources of secrets read again for requests that name a version
// which this replica does not have: it may be one that others issue with already.
// However many ask, they are read one reading at a time, and at most one a second.
type rereads struct {
	read func(context.Context) (changed bool, err error)
	work func(func()) // does it, and goes on

	mu      sync.Mutex
	waiting int
	from    map[netip.Prefix]int // of these, by network
	next    *reading             // asked for, and not begun
	running *reading
	began   time.Time            // when the last one began
	looked  map[string]time.Time // by id, when a reading that began after somebody had met it has ended
}

// reading is one of them. err is set before done is closed.
type reading struct {
	ids  map[string]struct{} // met before it began
	done chan struct{}
	err  error
}

func newRereads(read func(context.Context) (bool, error), work func(func())) *rereads {
	if read == nil {
		return nil
	}
	return &rereads{read: read, work: work, from: map[netip.Prefix]int{}, looked: map[string]time.Time{}}
}

// wait returns when the sources have been read. full says that the reading began
// after somebody had met id ("": one that is not remembered), so that an id which
// is still unknown is nobody's; else it may be worth another wait. It fails when
// they can't be read, when ctx ends, or when too many wait already, in all or of
// the network that addr is in: nobody can know then.
func (r *rereads) wait(ctx context.Context, id string, addr netip.Addr) (full bool, err error) {
	if r == nil {
		return true, nil
	}
	network := networkOf(addr)
	r.mu.Lock()
	if at, ok := r.looked[id]; ok && time.Since(at) < lookedFor {
		r.mu.Unlock()
		return true, nil
	}
	if r.waiting >= maxWaiting || r.from[network] >= maxWaitingEach {
		r.mu.Unlock()
		return false, errors.New("gateway: too many requests wait for the sources of secrets to be read again")
	}
	r.waiting++
	r.from[network]++
	one := r.running
	if one == nil {
		one, full = r.ask(), true
		if id != "" && len(one.ids) < maxWaiting {
			one.ids[id] = struct{}{}
		}
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.waiting--
		if r.from[network]--; r.from[network] == 0 {
			delete(r.from, network)
		}
		r.mu.Unlock()
	}()
	select {
	case <-one.done:
		return full, one.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// networkOf is the zero Prefix for an address that is not known.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := networkV6
	if addr.Is4() {
		bits = networkV4
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}

// ask is the reading that has not begun, which it makes if there is none. r.mu is
// held.
func (r *rereads) ask() *reading {
	if r.next != nil {
		return r.next
	}
	one := &reading{ids: map[string]struct{}{}, done: make(chan struct{})}
	r.next = one
	after := rereadEvery - time.Since(r.began)
	r.work(func() {
		if after > 0 {
			time.Sleep(after)
		}
		r.run(one)
	})
	return one
}

var errDefect = errors.New("gateway: reading the sources of secrets again met a defect")

func (r *rereads) run(one *reading) {
	r.mu.Lock()
	r.next, r.running, r.began = nil, one, time.Now()
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), rereadWithin)
	defer cancel()
	one.err = errDefect // unless read returns
	defer func() {
		r.mu.Lock()
		r.running = nil
		if one.err == nil {
			r.remember(one.ids, time.Now())
		}
		r.mu.Unlock()
		close(one.done)
	}()
	_, one.err = r.read(ctx) // what it changed is in the current generation
}

func (r *rereads) remember(ids map[string]struct{}, now time.Time) {
	for id, at := range r.looked {
		if now.Sub(at) >= lookedFor {
			delete(r.looked, id)
		}
	}
	for id := range ids {
		if len(r.looked) < maxWaiting {
			r.looked[id] = now
		}
	}
}

// unknownVersion reports whether err says that something names a version that the
// generation lacks, and which, as far as that is told. What is too long to be a
// version is none.
func unknownVersion(err error) (id string, unknown bool) {
	if !errors.Is(err, keyring.ErrUnknownVersion) {
		return "", false
	}
	if v, ok := errors.AsType[*session.VersionError](err); ok {
		return v.Secret + "/" + v.Version, len(v.Version) <= maxVersion
	}
	if v, ok := errors.AsType[*oidc.StateVersionError](err); ok {
		return "state-key/" + v.Version, len(v.Version) <= maxVersion
	}
	return "", true
}

// settled is what a request has learnt of the versions that it names.
type settled struct{ ids []string }

func (s *settled) has(id string) bool { return s != nil && slices.Contains(s.ids, id) }

// undecided reports whether err is about a version that somebody else may have.
// Until that is settled it must not be taken for an answer.
func (c *call) undecided(err error) bool {
	id, unknown := unknownVersion(err)
	return unknown && !c.settled.has(id)
}

// settle serves a request again whose generation lacks a version, as soon as there
// is a generation that may have it. r is the request as it came: nothing of it was
// read, and nothing was answered. What a full reading does not bring is nobody's,
// and is answered like any other forgery; without a reading nobody can know.
func (c *call) settle(err error, r *http.Request) error {
	for range maxRounds {
		id, unknown := unknownVersion(err)
		if !unknown || c.settled.has(id) || c.forwarded || c.recorder.Started() {
			return err
		}
		c.leave() // who waits is not served; how many wait is bounded
		if now := c.gateway.current(); now != c.gen {
			c.gen = now
		} else {
			full, failed := c.gateway.rereads.wait(r.Context(), id, c.client.Addr)
			if failed != nil {
				return problem.New(problem.KeysUnavailable, errors.Join(failed, err))
			}
			if full && c.settled == nil {
				c.settled = &settled{}
			}
			if full {
				c.settled.ids = append(c.settled.ids, id)
			}
			c.gen = c.gateway.current()
		}
		c.startOver(r)
		err = c.serve()
	}
	if c.undecided(err) {
		return problem.New(problem.KeysUnavailable, err)
	}
	return err
}

// startOver undoes what serving it once has done to the answer.
func (c *call) startOver(r *http.Request) {
	c.r = r
	h := c.w.Header()
	clear(h)
	h["X-Correlation-Id"] = c.idHeader[:]
	c.event.Route, c.event.Session = "", ""
	c.flow = ""
}

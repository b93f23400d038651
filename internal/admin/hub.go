package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

const (
	lookEvery   = time.Second
	lookWithin  = 5 * time.Second  // one look may take
	statusEvery = 10 * time.Second // also when only "last seen" is other than before
)

// hub looks once a second, on behalf of all streams together, and not at all while
// there is none. It is safe for concurrent use.
type hub struct {
	h *Handler

	mu      sync.Mutex
	streams map[*stream]struct{}
	stop    context.CancelFunc // nil: nobody looks
	last    map[string]message // what somebody who comes is told first: status, verify, load, trouble
}

// stream is one reader.
type stream struct {
	messages chan message
	gone     chan struct{} // closed when it fell too far behind
}

func (b *hub) join() *stream {
	s := &stream{messages: make(chan message, streamBacklog), gone: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streams == nil {
		b.streams = map[*stream]struct{}{}
	}
	b.streams[s] = struct{}{}
	if b.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		b.stop, b.last = stop, map[string]message{}
		go b.run(ctx, &looker{h: b.h, say: func(m message) { b.say(ctx, m) }, rotations: map[string]string{}})
	}
	for _, event := range []string{"trouble", "status", "verify", "load"} {
		if m, ok := b.last[event]; ok {
			s.messages <- m
		}
	}
	go b.backfill(s)
	return s
}

// backfill tells a reader what was before it came. It was registered before that is
// read, so nothing is lost between; what comes twice has the same time or number.
func (b *hub) backfill(s *stream) {
	defer b.h.survive()
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	if b.h.charter != nil {
		b.send(s, asMessage("series", seriesAnswer{list(b.h.charter.Points(time.Now().Add(-chartFor)))}))
	}
	if b.h.auditor != nil {
		if page, err := b.h.auditor.Audit(ctx, 0, entries); err == nil {
			b.send(s, asMessage("audit", filledPage(page)))
		}
	}
}

func (b *hub) leave(s *stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.streams, s)
	if len(b.streams) == 0 && b.stop != nil {
		b.stop()
		b.stop = nil
	}
}

func (b *hub) send(s *stream, m message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sendLocked(s, m)
}

func (b *hub) sendLocked(s *stream, m message) {
	if _, here := b.streams[s]; !here {
		return
	}
	select {
	case s.messages <- m:
	default: // it comes back, and is told everything anew
		delete(b.streams, s)
		close(s.gone)
	}
}

func (b *hub) say(ctx context.Context, m message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		return // another run has begun
	}
	if m.event != "series" && m.event != "audit" && m.event != "rotation" {
		b.last[m.event] = m
	}
	for s := range b.streams {
		b.sendLocked(s, m)
	}
}

func (b *hub) run(ctx context.Context, l *looker) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		l.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// looker remembers what it has told, for one run of the hub.
type looker struct {
	h   *Handler
	say func(message)

	status     string            // without when replicas were seen
	statusAt   time.Time         // told
	rotations  map[string]string // by secret: the record, as told
	trouble    string
	point      time.Time // the last second that was told
	seq        uint64    // the last entry of the record that was told
	line       string    // it, as it is kept
	auditBegun bool
	verified   time.Time
	load       *bool
}

// look tells what is other than before. A defect in what is asked ends nobody.
func (l *looker) look(ctx context.Context) {
	defer l.h.survive()
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	err := errors.Join(l.lookStatus(ctx), l.lookAudit(ctx))
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		l.lookTrouble(err)
	}
	if c := l.h.charter; c != nil {
		if l.point.IsZero() {
			l.point = time.Now().Add(-10 * time.Second) // those before: backfill
		}
		if points := c.Points(l.point); len(points) > 0 {
			l.point = points[len(points)-1].At
			l.say(asMessage("series", seriesAnswer{points}))
		}
	}
	if v := l.h.verifier; v != nil {
		if report, ok := v.LastReport(); ok && !report.At.Equal(l.verified) {
			l.verified = report.At
			l.say(asMessage("verify", filledReport(report)))
		}
	}
	if g := l.h.load; g != nil {
		if running := g.Running(); l.load == nil || *l.load != running {
			l.load = &running
			l.say(asMessage("load", loadState{running}))
		}
	}
}

func (l *looker) lookStatus(ctx context.Context) error {
	status, err := l.h.control.Status(ctx)
	if err != nil {
		return err
	}
	status = status.filled()
	for _, s := range status.Secrets {
		if s.Rotation == nil {
			continue
		}
		text := string(asMessage("rotation", s.Rotation).data)
		before, known := l.rotations[s.Name]
		l.rotations[s.Name] = text
		if before != text && (known || l.status != "") { // the first time the status has it
			l.say(message{"rotation", []byte(text)})
		}
	}
	m := asMessage("status", status)
	steady := status
	steady.Replicas = list(status.Replicas)
	for i := range steady.Replicas {
		steady.Replicas[i].SeenAt = time.Time{}
	}
	same := string(asMessage("", steady).data)
	if now := time.Now(); same != l.status || now.Sub(l.statusAt) >= statusEvery {
		l.status, l.statusAt = same, now
		l.say(m)
	}
	return nil
}

// lookAudit tells what is new in the record. It asks for the entry that was told
// last as well: when that is not there any more, or is another one, the chain was cut
// or begun anew, and is told from its new end on, before it is as long as it was.
func (l *looker) lookAudit(ctx context.Context) error {
	if l.h.auditor == nil {
		return nil
	}
	from := max(l.seq, 1)
	if !l.auditBegun {
		from = 0 // the newest
	}
	page, err := l.h.auditor.Audit(ctx, from, entries)
	if err != nil {
		return err
	}
	if l.seq > 0 && (page.Head.Seq < l.seq || len(page.Lines) > 0 && page.First == l.seq && page.Lines[0] != l.line) {
		if page, err = l.h.auditor.Audit(ctx, 0, entries); err != nil {
			return err
		}
		l.seq = 0
		if page.Head.Seq == 0 {
			l.line = ""
			l.say(asMessage("audit", filledPage(page)))
		}
	}
	l.auditBegun = true
	if len(page.Lines) > 0 && page.First == l.seq {
		page.First, page.Lines = page.First+1, page.Lines[1:]
	}
	if n := len(page.Lines); n > 0 {
		l.seq, l.line = page.First+uint64(n)-1, page.Lines[n-1]
		l.say(asMessage("audit", filledPage(page)))
	}
	return nil
}

// lookTrouble tells, once, that something can't be known now, and that it can again.
func (l *looker) lookTrouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != l.trouble {
		l.trouble = text
		l.say(asMessage("trouble", struct {
			Detail string `json:"detail"`
		}{text}))
	}
}

// asMessage writes v as one line of JSON. No type of ours can fail.
func asMessage(event string, v any) message {
	data, err := json.Marshal(v)
	if err != nil {
		data = []byte("null")
	}
	return message{event, data}
}

// survive is for goroutines beside requests: net/http does as much for those.
func (h *Handler) survive() {
	if defect := recover(); defect != nil {
		h.log.Error("admin: a defect while looking for what is new; please report it", "error", fmt.Sprint(defect), "stack", string(debug.Stack()))
	}
}

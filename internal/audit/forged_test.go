package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/secret"
)

// fleetKeys are made of nothing but the version's name.
type fleetKeys struct {
	mu     sync.Mutex
	active string
	has    map[string]bool
}

func newFleetKeys(active string) *fleetKeys {
	return &fleetKeys{active: active, has: map[string]bool{active: true}}
}

func (k *fleetKeys) Active() (string, secret.Value, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.active, secret.NewValue([]byte("of " + k.active)), nil
}

func (k *fleetKeys) Key(_ context.Context, version string) (secret.Value, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return secret.NewValue([]byte("of " + version)), k.has[version]
}

// push puts entries behind the chain, as who may write to the store does.
func (s *store) push(t *testing.T, line func(after Head) []byte) {
	t.Helper()
	after, _ := s.Memory.Head(t.Context())
	l := line(after)
	m := s.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, l)
	m.head = Head{Seq: after.Seq + 1, Hash: HashLine(l)}
}

func byKey(e Event, keys Keys) func(Head) []byte {
	return func(after Head) []byte {
		entry, err := encodeWith(after, e, keys)
		if err != nil {
			panic(err)
		}
		return entry.Line
	}
}

func TestWhatNoReplicaHasWritten(t *testing.T) {
	keys := newFleetKeys("v1")
	mine := Event{ID: "r9/3-activated", At: began, Type: "rotation.activated"}
	for name, line := range map[string]func(t *testing.T, log *store) func(Head) []byte{
		"without a MAC": func(*testing.T, *store) func(Head) []byte { return byKey(mine, nil) },
		"with another's MAC": func(*testing.T, *store) func(Head) []byte {
			return func(after Head) []byte {
				line := byKey(mine, keys)(after)
				return []byte(strings.Replace(string(line), "activated", "retired_old", 1))
			}
		},
		"by a version that nobody has": func(*testing.T, *store) func(Head) []byte { return byKey(mine, newFleetKeys("v0")) },
		"which says that it was told of": func(*testing.T, *store) func(Head) []byte {
			return byKey(forgedEvent("b7", stretch{From: 3, To: 3}), nil)
		},
		"a copy": func(t *testing.T, log *store) func(Head) []byte {
			_, lines, _ := log.Read(t.Context(), 1, 1)
			return func(Head) []byte { return lines[0] }
		},
		"no entry at all": func(*testing.T, *store) func(Head) []byte { return func(Head) []byte { return []byte("hello") } },
		"a number that is far ahead": func(*testing.T, *store) func(Head) []byte {
			return func(after Head) []byte { return byKey(mine, nil)(Head{Seq: 1 << 60, Hash: after.Hash}) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			log, at, sink := newStore(), &cursors{}, &receiver{}
			var cuts atomic.Int32
			k := newKey(t)
			signed := map[string]bool{}
			r := recorder(t, Options{
				Log: log, Keys: keys, Sinks: []Sink{sink}, Cursors: at, Observe: Observe{Cut: func() { cuts.Add(1) }}, KeyID: k.KeyID,
				Sign: func(claims any, typ string) (string, error) {
					signed[claims.(headClaims).Hash] = true
					return k.Sign(claims, typ, nil)
				},
			})
			add(t, r, "a", "b")
			log.push(t, line(t, log))
			forged, _ := log.Head(t.Context())
			d := newDelivery(r, sink)
			deliver := func(d *delivery) {
				for more := true; more; {
					var err error
					if more, err = d.deliver(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			deliver(d)
			if got := sink.all(); got != "a b" {
				t.Errorf("delivered before it was looked at: %s", got)
			}
			r.look(t.Context())
			if signed[forged.Hash] && name != "a copy" { // whose hash is that of another
				t.Error("the head over it was signed")
			}
			// What happens under the same id is not kept out by it.
			if err := r.Append(t.Context(), mine); err != nil {
				t.Fatal(err)
			}
			deliver(d)
			got := sink.all()
			if strings.Count(got, "forged/") != 1 || strings.Count(got, mine.ID) != 1 || !strings.HasPrefix(got, "a b forged/3/3/") {
				t.Errorf("delivered: %s", got)
			}
			if cuts.Load() != 1 {
				t.Errorf("%d were noticed", cuts.Load())
			}
			// Another replica says nothing more of it, and goes by the same.
			other, second := &receiver{}, &cursors{}
			r2 := recorder(t, Options{Log: log, Keys: keys, Replica: "c8", Sinks: []Sink{other}, Cursors: second})
			r2.look(t.Context())
			deliver(newDelivery(r2, other))
			if other.all() != got {
				t.Errorf("another one delivered %q, expected %q", other.all(), got)
			}
			head, _ := log.Head(t.Context())
			_, lines, _ := log.Read(t.Context(), 4, 1)
			var data stretch
			if e, err := Parse(lines[0]); err != nil || e.Type != TypeForged || json.Unmarshal(e.Data, &data) != nil || data.From != 3 || head.Seq != 5 {
				t.Errorf("%s, %d entries", lines[0], head.Seq)
			}
		})
	}
}

// What was looked at may be another entry when it is delivered.
func TestWhatIsForgedAfterItWasSeen(t *testing.T) {
	log, at, sink, keys := newStore(), &cursors{}, &receiver{}, newFleetKeys("v1")
	r := recorder(t, Options{Log: log, Keys: keys, Sinks: []Sink{sink}, Cursors: at})
	add(t, r, "a", "b", "c")
	log.Memory.lines[1] = []byte(strings.Replace(string(log.Memory.lines[1]), `"id":"b"`, `"id":"x"`, 1))
	d := newDelivery(r, sink)
	for range 4 {
		if _, err := d.deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := sink.all(); !strings.HasPrefix(got, "a c forged/2/2/") || strings.Count(got, "forged") != 1 {
		t.Errorf("delivered %q", got)
	}
}

// Entries outlive the key that they were written under: what follows speaks for them.
func TestEntriesOfAVersionThatHasEnded(t *testing.T) {
	log, keys := newStore(), newFleetKeys("v1")
	add(t, recorder(t, Options{Log: log, Keys: keys}), "a", "b")
	keys.mu.Lock()
	keys.active, keys.has = "v2", map[string]bool{"v1": true, "v2": true}
	keys.mu.Unlock()
	add(t, recorder(t, Options{Log: log, Keys: keys}), "c")
	sink := &receiver{}
	r := recorder(t, Options{Log: log, Keys: newFleetKeys("v2"), Sinks: []Sink{sink}, Cursors: &cursors{}})
	add(t, r, "b", "d")
	if _, err := newDelivery(r, sink).deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sink.all(); got != "a b c d" || idsOf(t, log) != "a b c d" {
		t.Errorf("delivered %q of %q", got, idsOf(t, log))
	}
}

func TestManyAreForgedInTurns(t *testing.T) {
	log, keys := newStore(), newFleetKeys("v1")
	r := recorder(t, Options{Log: log, Keys: keys})
	add(t, r, "a")
	for i := range 200 {
		by := []Keys{nil, newFleetKeys("v0")}[i%2]
		log.push(t, byKey(ev(fmt.Sprint("x", i)), by))
	}
	r.look(t.Context())
	head, _ := log.Head(t.Context())
	_, lines, _ := log.Read(t.Context(), 202, MaxRead)
	covered := uint64(1)
	for _, line := range lines {
		var s stretch
		if json.Unmarshal(peek(line).Data, &s) != nil || s.From != covered+1 {
			t.Errorf("%s", line)
		}
		covered = s.To
	}
	if covered != 201 || len(lines) > maxStretches+1 {
		t.Errorf("up to %d, in %d entries; %d", covered, len(lines), head.Seq)
	}
}

func TestTheMACIsTheLastMember(t *testing.T) {
	keys := newFleetKeys("v1")
	e := ev("a")
	e.Data, e.Detail = json.RawMessage(`{"x":1,"mac":"v1.AAAA"}`), `,"mac":"v1.x"}`
	plain, err := Encode(Head{}, e)
	if err != nil {
		t.Fatal(err)
	}
	if _, version, _ := unsealed(plain.Line); version != "" || judge(t.Context(), keys, plain.Line) != bad {
		t.Errorf("%s", plain.Line)
	}
	entry, err := encodeWith(Head{}, e, keys)
	if err != nil {
		t.Fatal(err)
	}
	if rest, _, _ := unsealed(entry.Line); string(rest) != string(plain.Line) || judge(t.Context(), keys, entry.Line) != good {
		t.Errorf("%s", entry.Line)
	}
	if again, err := Parse(entry.Line); err != nil || again.MAC != entry.MAC || !strings.HasPrefix(again.MAC, "v1.") {
		t.Errorf("%v, %+v", err, again)
	}
	for _, mac := range []string{"x", "v1.", ".", "v1.AAAA"} {
		line := strings.Replace(string(entry.Line), entry.MAC, mac, 1)
		if _, err := Parse([]byte(line)); err == nil {
			t.Errorf("read: %s", line)
		}
	}
}

func TestTheRecordGoesOnWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, sink, keys := newStore(), &receiver{}, newFleetKeys("v1")
		r := recorder(t, Options{Log: log, Keys: keys, Sinks: []Sink{sink}, Cursors: &cursors{}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		for i := range 3 {
			r.Record(ev(fmt.Sprint("e", i)))
			time.Sleep(5 * time.Second)
			log.push(t, byKey(ev(fmt.Sprint("x", i)), nil))
			time.Sleep(5 * time.Second)
		}
		stop()
		<-done
		got := sink.all()
		if strings.Count(got, "forged/") != 3 || strings.Contains(" "+got, " x") || strings.Count(" "+got, " e") != 3 {
			t.Errorf("delivered %q", got)
		}
	})
}

// While a replica leads it goes by what it has delivered, and not by what it is told.
func TestACursorThatIsForged(t *testing.T) {
	log, at, sink := newStore(), &cursors{}, &receiver{}
	r := recorder(t, Options{Log: log, Sinks: []Sink{sink}, Cursors: at})
	d := newDelivery(r, sink)
	add(t, r, "a", "b")
	step := func() {
		t.Helper()
		if _, err := d.deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	step()
	add(t, r, "c", "d")
	head, _ := log.Head(t.Context())
	at.at["test"] = Cursor{head.Seq, head.Hash}
	step()
	if got := sink.all(); got != "a b c d" {
		t.Errorf("delivered %q", got)
	}
	at.at["test"] = Cursor{1 << 50, "x"}
	add(t, r, "e")
	step()
	if got := sink.all(); got != "a b c d e" || at.at["test"].Seq != 5 {
		t.Errorf("delivered %q, at %+v", got, at.at["test"])
	}
	d.at = nil // another one led meanwhile
	at.at["test"] = Cursor{head.Seq, head.Hash}
	step()
	if got := sink.all(); got != "a b c d e e" {
		t.Errorf("delivered %q", got)
	}
}

func TestADefectLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, queued := newStore(), -1
		log.first = func() { panic("a defect") }
		r := recorder(t, Options{Log: log, Observe: Observe{Queue: func(n int) { queued = n }}})
		r.Record(ev("a"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		time.Sleep(10 * time.Second)
		stop()
		<-done
		if got := idsOf(t, log); got != "a" || r.Waiting() != 0 || queued != 0 {
			t.Errorf("%q is written, %d wait, %d are told of", got, r.Waiting(), queued)
		}
	})
}

package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/audit"
	"keyway/internal/config"
	"keyway/internal/fleet"
	"keyway/internal/rotation"
	"keyway/internal/secret"
	"keyway/internal/secret/source"
	"keyway/internal/testkit/logbuffer"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/verify"
)

// recordOf is the chain as the admin API gives it.
func recordOf(t *testing.T, admin string) audit.Page {
	t.Helper()
	var page audit.Page
	status, body := get(client(t), admin+"/admin/v1/audit?from=1&most=500")
	if status != http.StatusOK || json.Unmarshal([]byte(body), &page) != nil {
		t.Fatalf("%d %s", status, body)
	}
	return page
}

func linesOf(p audit.Page) (lines [][]byte) {
	for _, line := range p.Lines {
		lines = append(lines, []byte(line))
	}
	return lines
}

// has reports whether an entry has all these words.
func has(p audit.Page, words ...string) bool {
	return slices.ContainsFunc(p.Lines, func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

func ask(t *testing.T, url, body string) {
	t.Helper()
	answer, err := client(t).Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		t.Fatal(answer.Status)
	}
}

// A rotation is in the record, step by step, each once, whoever has died; the head is
// signed by the key that is in use; and there is no value in it.
func TestARotationIsInTheRecord(t *testing.T) {
	for _, kind := range []string{"folder", "redis"} {
		t.Run(kind, func(t *testing.T) {
			changes := map[string]string{}
			if kind == "redis" {
				changes = map[string]string{"REDIS_URL": redisserver.Start(t).URL(), "TOKEN_HASH_SALT": goodSalt}
			}
			environ := env(t, changes)
			r := start(t, options(t, environ, managed, ""))
			ask(t, r.Admin+"/admin/v1/rotations", `{"secrets":["signing-key","session-key"]}`)
			complete := func(r *running) func() bool {
				return func() bool {
					p := recordOf(t, r.Admin)
					for _, secret := range []string{"signing-key", "session-key"} {
						for _, kind := range []string{"rotation.asked", "rotation.made", "rotation.held", "rotation.activated", "rotation.ended"} {
							if !has(p, `"type":"`+kind+`"`, `"secret":"`+secret+`"`, `"actor":"admin API`) {
								return false
							}
						}
					}
					_, keys := get(client(t), r.Public+"/.well-known/jwks.json")
					report := audit.Check(linesOf(p), audit.CheckOptions{Head: &p.Head, KeySet: []byte(keys), Whole: true})
					return report.OK && !report.SignedAt.IsZero()
				}
			}
			until(t, "the record is complete and signed", complete(r))
			until(t, "it was verified, and that is in the record", func() bool {
				return has(recordOf(t, r.Admin), `"type":"verify.finished"`, `"secret":"session-key"`, `"rotation":"`)
			})
			before := recordOf(t, r.Admin)
			if !has(before, `"type":"fleet.joined"`) {
				t.Errorf("nobody has joined: %s", strings.Join(before.Lines, "\n"))
			}
			if err := r.stop(t); err != nil {
				t.Fatal(err)
			}
			r = start(t, options(t, environ, managed, ""))
			until(t, "the record goes on", func() bool {
				// Of a fleet, who is gone is told when others would go on without it.
				return (kind == "redis" || has(recordOf(t, r.Admin), `"type":"fleet.left"`)) && complete(r)()
			})
			after := recordOf(t, r.Admin)
			seen := map[string]bool{}
			for _, line := range linesOf(after) {
				e, err := audit.Parse(line)
				if err != nil || seen[e.ID] {
					t.Errorf("%v: %s", err, line)
				}
				seen[e.ID] = true
			}
			if !slices.Equal(after.Lines[:len(before.Lines)], before.Lines) {
				t.Error("what was in the record is another now")
			}
			if has(after, audit.TypeForged) || has(after, audit.TypeCut) || has(after, fromTheRing) {
				t.Errorf("an accusation, and nobody has done anything: %s", strings.Join(after.Lines, "\n"))
			}
			if text := strings.Join(after.Lines, ""); strings.Contains(text, goodSalt) || strings.Contains(text, "PRIVATE") {
				t.Error("there is a value in the record")
			}
		})
	}
}

// What receivers get is told by the deployment's address, and signed with a key in
// its key set.
func TestTheRecordIsPushed(t *testing.T) {
	got := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer receiver-token-0123456789" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		got <- body.String()
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(receiver.Close)
	var log logbuffer.Buffer
	at, err := url.Parse(receiver.URL)
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, env(t, map[string]string{"RECEIVER": "receiver-token-0123456789", "BFF_CALLBACK_URL": "https://app.example/auth/callback"}), managed, "")
	o.Config.Audit.Push = config.AuditPush{URL: at, Audience: "siem", Token: config.SecretRef{Kind: config.SecretEnv, Name: "RECEIVER"}}
	o.Log = slog.New(slog.NewJSONHandler(&log, nil))
	r := start(t, o)
	token := <-got
	if _, keys := get(client(t), r.Public+"/.well-known/jwks.json"); strings.Count(token, ".") != 2 || !strings.Contains(keys, "kid") {
		t.Errorf("%s", token)
	}
	until(t, "how far it is, is kept", func() bool {
		_, metrics := get(client(t), r.Admin+"/metrics")
		return strings.Contains(metrics, `bff_audit_delivered_total{outcome="delivered",sink="push"} 1`)
	})
	until(t, "it is in the log, too", func() bool { return strings.Contains(log.String(), `"msg":"audit"`) })
	if err := r.stop(t); err != nil {
		t.Error(err)
	}
}

func TestTroubleWithASecretIsInTheRecord(t *testing.T) {
	a, err := opened(t, env(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	a.troubled(source.Trouble{Name: "client-secret", Path: "/run/secrets/x", Why: "empty", Detail: "expected a value, found none"})
	a.troubled(source.Trouble{Name: "client-secret", Path: "/run/secrets/x", Why: "empty", Over: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.recorder.Run(ctx) // its last words
	p, err := a.recorder.Tail(t.Context(), 10)
	if err != nil || len(p.Lines) != 2 || !has(p, "secret.trouble", "expected a value", a.id) || !has(p, "secret.recovered") {
		t.Errorf("%s, %v", strings.Join(p.Lines, "\n"), err)
	}
}

func TestWhatReceiversAreShownIsReadAgain(t *testing.T) {
	value, err := "first", error(nil)
	o := opener{finder: secret.Finder{Env: func(name string) (string, bool) { return value, name == "X" && err == nil }}}
	find, err2 := auditSecret(o, "audit.push.token", config.SecretRef{Kind: config.SecretEnv, Name: "X"})
	if err2 != nil {
		t.Fatal(err2)
	}
	show := func() string {
		v, err := find()
		if err != nil {
			t.Error(err)
		}
		return string(v.Reveal())
	}
	if show() != "first" {
		t.Error("not what there is")
	}
	value = "second"
	if show() != "second" {
		t.Error("a new value was not taken up")
	}
	err = errors.New("gone")
	if show() != "second" {
		t.Error("the last good value did not stay")
	}
	if _, err := auditSecret(o, "audit.push.token", config.SecretRef{Kind: config.SecretEnv, Name: "X"}); err == nil || !strings.Contains(err.Error(), "audit.push.token") {
		t.Error(err)
	}
}

func kinds(events []audit.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, strings.TrimPrefix(e.Type, audit.TypeRotation))
	}
	return strings.Join(all, " ")
}

// A history is read again and again, and each of its steps makes one event, with an
// id that follows from it.
func TestAHistoryMakesEachEventOnce(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }
	r := rotation.Rotation{
		ID: "r1", Secret: "session-key", From: "v1", To: "v2", AskedBy: "somebody", StartedAt: at(0), Compromised: true,
		Steps: []rotation.Step{{At: at(0), What: "made"}},
	}
	var marks map[string]mark
	var all []audit.Event
	look := func(now time.Time, want string) {
		t.Helper()
		var events []audit.Event
		events, marks = rotationEvents(rotation.History{Rotations: []rotation.Rotation{r}}, marks, now)
		if got := kinds(events); got != want {
			t.Errorf("expected %q, found %q", want, got)
		}
		all = append(all, events...)
	}
	look(at(1), "") // it may be dropped yet
	look(at(3), "asked made")
	look(at(4), "")
	r.Steps = append(r.Steps, rotation.Step{At: at(5), What: "held"}, rotation.Step{At: at(6), What: "activating"}, rotation.Step{At: at(4), What: "activated"})
	r.Outcome, r.EndedAt = rotation.OutcomeActive, at(4)
	look(at(7), "held activating activated ended")
	r.Steps = append(r.Steps, rotation.Step{At: at(60), What: "guarded", Detail: "1m0s without trouble"})
	look(at(61), "guarded")
	r.Steps = append(r.Steps, rotation.Step{At: at(70), What: "rolling_back", Detail: "9 refusals since the activation, 0 in as long before"}, rotation.Step{At: at(70), What: "rolled_back"})
	r.Outcome, r.EndedAt = rotation.OutcomeRolledBack, at(70)
	look(at(71), "rolling_back rolled_back ended")
	look(at(72), "")

	ids := map[string]bool{}
	for i, e := range all {
		if ids[e.ID] || e.Actor != "somebody" || e.Rotation != "r1" || i > 0 && e.At.Before(all[i-1].At) {
			t.Errorf("%d: %+v", i, e)
		}
		ids[e.ID] = true
	}
	if string(all[0].Data) != `{"compromised":true}` {
		t.Errorf("%s", all[0].Data)
	}
	if last := all[len(all)-1]; last.Outcome != rotation.OutcomeRolledBack || string(last.Data) != `{"took_ms":70000}` {
		t.Errorf("%+v", last)
	}
	// Whoever has no marks tells the same, under the same ids.
	again, _ := rotationEvents(rotation.History{Rotations: []rotation.Rotation{r}}, nil, at(80))
	for _, e := range again {
		if !ids[e.ID] {
			t.Errorf("another id: %s", e.ID)
		}
	}
}

func TestReplicasComeAndGoOnceEach(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	report := func(id string, live bool) fleet.Report {
		r := fleet.Report{ID: id, Host: "pod-" + id, Seen: now, Until: now.Add(time.Minute)}
		if !live {
			r.Until = now
		}
		return r
	}
	known := map[string]presence{}
	look := func(want string, reports ...fleet.Report) {
		t.Helper()
		var got []string
		for _, e := range fleetEvents(fleet.Roll{Now: now, Reports: reports}, known, "r1") {
			got = append(got, e.ID)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("expected %s, found %v", want, got)
		}
	}
	look("[fleet/r1/1/fleet.joined]", report("r1", true), report("gone", false))
	look("[]", report("r1", true))
	look("[fleet/r2/1/fleet.joined]", report("r1", true), report("r2", true))
	look("[fleet/r2/1/fleet.left]", report("r1", true), report("r2", false))
	look("[]", report("r1", true), report("r2", false))
	look("[fleet/r2/2/fleet.joined]", report("r1", true), report("r2", true))
	look("[fleet/r2/2/fleet.left]", report("r1", true))
	if len(known) != 1 {
		t.Errorf("%v", known)
	}
}

func TestCursorsAreTheFleets(t *testing.T) {
	folder, err := fleet.OpenFolder(t.TempDir() + "/fleet")
	if err != nil {
		t.Fatal(err)
	}
	c := boardCursors{folder}
	if at, err := c.Load(t.Context(), "push"); at != (audit.Cursor{}) || err != nil {
		t.Errorf("%+v, %v", at, err)
	}
	one := audit.Cursor{Seq: 1, Hash: "h"}
	if err := c.Store(t.Context(), "push", audit.Cursor{}, one); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(t.Context(), "push", audit.Cursor{}, one); !errors.Is(err, audit.ErrConflict) {
		t.Error(err)
	}
	if at, err := c.Load(t.Context(), "push"); at != one || err != nil {
		t.Errorf("%+v, %v", at, err)
	}
	if at, err := c.Load(t.Context(), "kafka"); at != (audit.Cursor{}) || err != nil {
		t.Errorf("%+v, %v", at, err)
	}
}

// dying is a board whose writes of how far the journals are in the record fail, as if
// whoever was to make them had been killed.
type dying struct {
	fleet.Board
	killed bool
}

func (d *dying) CompareAndSet(ctx context.Context, name string, revision fleet.Revision, value []byte) (fleet.Revision, error) {
	if d.killed && name == chronicleEntry {
		return "", errors.New("killed")
	}
	return d.Board.CompareAndSet(ctx, name, revision, value)
}

// What is verified after a rotation stands behind that rotation in the record, though
// nobody has read its journal yet.
func TestAVerificationIsRecordedAfterItsRotation(t *testing.T) {
	a, err := opened(t, env(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, err := fleet.NewJournal(a.board).Update(t.Context(), nameCSRFKey, func(h *rotation.History) bool {
		h.Rotations = []rotation.Rotation{{
			ID: "r1", Secret: nameCSRFKey, From: "v1", To: "v2", StartedAt: now, Outcome: rotation.OutcomeActive, EndedAt: now,
			Steps: []rotation.Step{{At: now, What: "made"}, {At: now, What: "activated"}},
		}}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	a.recordVerified(t.Context(), "after a rotation", nameCSRFKey, "v2", verify.Report{At: now, OK: true})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	a.recorder.Run(ended) // what waits is written before it ends
	p, err := a.recorder.Audit(t.Context(), 1, audit.MaxRead)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range linesOf(p) {
		if e, err := audit.Parse(line); err == nil && e.Rotation == "r1" {
			got = append(got, e.Type)
		}
	}
	want := []string{audit.TypeAsked, "rotation.made", "rotation.activated", audit.TypeEnded, audit.TypeVerified}
	if !slices.Equal(got, want) {
		t.Errorf("expected %v, found %v", want, got)
	}

	// It is not waited for longer than a while: who passes now may hang.
	synctest.Test(t, func(t *testing.T) {
		c := newChronicle(nil, nil)
		c.turn <- struct{}{}
		began := time.Now()
		if c.flush(t.Context()); time.Since(began) != flushWithin {
			t.Errorf("it took %s", time.Since(began))
		}
	})
}

// Whoever leads next, and does not know how far the one before was, adds what is
// missing, and nothing twice.
func TestALeaderThatIsKilledWhileItRecords(t *testing.T) {
	a, err := opened(t, env(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	board := &dying{Board: a.board}
	journal := fleet.NewJournal(a.board)
	long := time.Now().Add(-time.Hour)
	write := func(change func(*rotation.History)) {
		t.Helper()
		if _, err := journal.Update(t.Context(), nameCSRFKey, func(h *rotation.History) bool { change(h); return true }); err != nil {
			t.Fatal(err)
		}
	}
	write(func(h *rotation.History) {
		r := rotation.Rotation{ID: "r1", Secret: nameCSRFKey, StartedAt: long}
		for i := range 90 {
			r.Steps = append(r.Steps, rotation.Step{At: long, What: fmt.Sprint("step", i)})
		}
		h.Rotations = []rotation.Rotation{r, r}
		h.Rotations[1].ID = "r0"
	})
	for round := range 3 {
		c := newChronicle(a, board)
		board.killed = true
		if err := c.pass(t.Context()); err == nil {
			t.Error("expected it to fail")
		}
		board.killed = false
		c = newChronicle(a, board) // another one leads
		for range 2 {
			if err := c.pass(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		write(func(h *rotation.History) {
			h.Rotations[0].Steps = append(h.Rotations[0].Steps, rotation.Step{At: long, What: fmt.Sprint("more", round)})
		})
	}
	p, err := a.recorder.Audit(t.Context(), 1, audit.MaxRead)
	if err != nil {
		t.Fatal(err)
	}
	if r := audit.Check(linesOf(p), audit.CheckOptions{Head: &p.Head, Whole: true}); !r.OK {
		t.Errorf("%+v", r.Problems)
	}
	seen := map[string]int{}
	next := map[string]int{}
	for _, line := range linesOf(p) {
		e, err := audit.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		seen[e.ID]++
		if e.Rotation != "" {
			if want := fmt.Sprint(e.Rotation, "/", next[e.Rotation]-1, "-"); next[e.Rotation] > 0 && !strings.HasPrefix(e.ID, want) {
				t.Errorf("expected %s…, found %s", want, e.ID)
			}
			next[e.Rotation]++
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	if next["r0"] != 91 || next["r1"] != 93 {
		t.Errorf("%v", next)
	}
}

package session_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/principal"
	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

// info is a UserInfo endpoint that says what the roles are, or nothing.
type info struct {
	mu    sync.Mutex
	roles []string // nil: it is away
	asked []time.Time
	wait  time.Duration
}

func (i *info) set(roles ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roles = roles
}

func (i *info) calls() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

func (i *info) learn(ctx context.Context, rec session.Record) (session.Record, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, time.Now())
	time.Sleep(i.wait)
	if i.roles == nil {
		return rec, errors.New("away")
	}
	rec.Roles, rec.RightsMissed, rec.Subject = i.roles, time.Time{}, "somebody else"
	return rec, nil
}

// missed is a session whose last refresh did not learn what ada may do.
func missed(t *testing.T, m *session.Manager, p *sessiontest.IdP) (header []string, s *session.Session) {
	rec := p.Grant("ada")
	rec.Roles, rec.RightsMissed = []string{"admin"}, time.Now()
	return sessiontest.SignIn(t, m, rec)
}

func rolesNow(t *testing.T, m *session.Manager, header []string) []string {
	t.Helper()
	return mustFind(t, m, header).Principal().Roles
}

// Rights that a refresh missed are asked for again, soon and less and less often, by all
// replicas together; and are what the IdP says as soon as it says it.
func TestMissedRightsAreLearned(t *testing.T) {
	threat.Covers(t, 49)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
		idp, ui := sessiontest.NewIdP(time.Hour, 0), &info{}
		header, _ := missed(t, here, idp)
		use := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				for _, m := range []*session.Manager{here, there} {
					m.RenewRights(t.Context(), mustFind(t, m, header), idp.Refresh, ui.learn)
				}
			}
			synctest.Wait()
		}
		use(time.Minute)
		if n := ui.calls(); n < 3 || n > 12 {
			t.Errorf("asked %d times in a minute", n)
		}
		for i, at := range ui.asked[1:] {
			if gap := at.Sub(ui.asked[i]); gap < 3*time.Second {
				t.Errorf("asked again after %v", gap)
			}
		}
		if got := rolesNow(t, there, header); !slices.Equal(got, []string{"admin"}) {
			t.Errorf("while nobody can know: %v", got)
		}
		ui.set("viewer")
		use(time.Minute)
		for _, m := range []*session.Manager{here, there} {
			s := mustFind(t, m, header)
			if got := s.Principal(); !slices.Equal(got.Roles, []string{"viewer"}) || got.Subject != "ada" || s.RightsMissed() {
				t.Errorf("when it is back: %v of %s, missed %v", got.Roles, got.Subject, s.RightsMissed())
			}
		}
		n := ui.calls()
		use(time.Minute)
		if calls, _ := idp.Calls(); ui.calls() != n || calls != 0 {
			t.Errorf("asked %d times more, refreshed %d times", ui.calls()-n, calls)
		}
	})
}

// What was taken away at the IdP does not live on because nobody can ask; and nobody is
// signed out.
func TestMissedRightsLapse(t *testing.T) {
	threat.Covers(t, 49)
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		idp, ui := sessiontest.NewIdP(time.Hour, 0), &info{}
		header, s := missed(t, m, idp)
		told := make(chan principal.Principal, 10)
		ctx, stop := m.WatchPrincipal(t.Context(), s, func(who principal.Principal) { told <- who }, session.Keep{})
		defer stop()
		plain, stopPlain := m.Watch(t.Context(), s)
		defer stopPlain()
		time.Sleep(session.RightsFor - time.Second)
		if s := mustFind(t, m, header); s.RightsLapsed(time.Now()) || len(s.Principal().Roles) != 1 {
			t.Errorf("lapsed %v early, %v", s.RightsLapsed(time.Now()), s.Principal().Roles)
		}
		synctest.Wait()
		if len(told) != 0 {
			t.Errorf("a stream was told of %v", <-told)
		}
		time.Sleep(2 * time.Second)
		if s := mustFind(t, m, header); !s.RightsLapsed(time.Now()) || s.Principal().Roles != nil || s.Principal().Subject != "ada" {
			t.Errorf("lapsed %v, %v", s.RightsLapsed(time.Now()), s.Principal())
		}
		synctest.Wait()
		if len(told) != 1 || (<-told).Roles != nil || ctx.Err() != nil || plain.Err() != nil {
			t.Errorf("a stream was not told, or ended: %v, %v", ctx.Err(), plain.Err())
		}
		ui.set("viewer")
		m.RenewRights(t.Context(), mustFind(t, m, header), idp.Refresh, ui.learn)
		time.Sleep(time.Second)
		if got := rolesNow(t, m, header); !slices.Equal(got, []string{"viewer"}) || len(told) != 1 {
			t.Errorf("when it is back: %v, told %d times", got, len(told))
		}
	})
}

// Where only new tokens can say it, they are got early, and by all ways to use a session.
func TestMissedRightsThatOnlyNewTokensSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		idp, ui := sessiontest.NewIdP(time.Hour, 0), &info{roles: []string{"viewer"}}
		rec := idp.Grant("ada")
		rec.Roles, rec.RightsMissed, rec.RefreshBy = []string{"admin"}, time.Now(), time.Now().Add(15*time.Second)
		header, _ := sessiontest.SignIn(t, m, rec)
		refresh := func(ctx context.Context, rec session.Record) (session.Record, error) {
			rec, err := idp.Refresh(ctx, rec)
			rec.Roles, rec.RightsMissed, rec.RefreshBy = []string{"editor"}, time.Time{}, time.Time{}
			return rec, err
		}
		for range 30 {
			m.RenewRights(t.Context(), mustFind(t, m, header), refresh, ui.learn)
			time.Sleep(time.Second)
		}
		if calls, _ := idp.Calls(); calls != 1 || ui.calls() != 0 {
			t.Errorf("refreshed %d times, asked %d times", calls, ui.calls())
		}
		if got := rolesNow(t, m, header); !slices.Equal(got, []string{"editor"}) {
			t.Errorf("after the refresh: %v", got)
		}
	})
}

// A refresh that is done meanwhile knows better than what was asked before it.
func TestWhatWasLearnedBeforeARefreshIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		idp, ui := sessiontest.NewIdP(time.Hour, 0), &info{roles: []string{"admin", "owner"}, wait: 3 * time.Second}
		header, s := missed(t, m, idp)
		m.RenewRights(t.Context(), s, idp.Refresh, ui.learn)
		time.Sleep(time.Second)
		_, err := m.Update(t.Context(), s, func(rec session.Record) session.Record {
			rec, err := idp.Refresh(t.Context(), rec)
			if err != nil {
				t.Error(err)
			}
			rec.Roles, rec.RightsMissed = []string{"viewer"}, time.Time{}
			return rec
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := rolesNow(t, m, header); !slices.Equal(got, []string{"viewer"}) {
			t.Errorf("got %v", got)
		}
	})
}

// A UserInfo endpoint that hangs is asked about a few sessions at once, however many
// have missed it.
func TestFewAreAskedAboutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		idp := sessiontest.NewIdP(time.Hour, 0)
		var mu sync.Mutex
		now, most := 0, 0
		hang := func(ctx context.Context, rec session.Record) (session.Record, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			now--
			mu.Unlock()
			return rec, ctx.Err()
		}
		for range 100 {
			_, s := missed(t, m, idp)
			m.RenewRights(t.Context(), s, idp.Refresh, hang)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most == 0 || most > 16 || now != 0 {
			t.Errorf("%d at once, %d still", most, now)
		}
	})
}

package e2e

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"keyway/internal/admin"
	"keyway/internal/demo/idp"
	"keyway/internal/threat"
)

// Faults in the middle of a rotation. One of three replicas is stopped, so that it
// can't hold the new version and everybody has to wait; and then something else
// goes wrong, too.
func fleetFaults(t *testing.T) {
	c := startCrew(t, 3, idp.Options{AccessTokenLifetime: time.Minute})
	staff := []*Browser{c.enterAt(t, c.replicas[0], c.replicas[1]), c.enterAt(t, c.replicas[2], c.replicas[2])}
	rotate(t, c.replicas[0], false, stateKeyName) // the fleet has come together

	for _, tc := range []struct {
		name       string
		away, back func()
	}{
		{"Redis hangs", c.redis.Pause, c.redis.Resume},
		{"Redis is killed", c.redis.Kill, c.redis.Restart},
	} {
		t.Run(tc.name, func(t *testing.T) {
			threat.Covers(t, 67)
			_, stopped, third := c.roles(t)
			awake := slices.DeleteFunc(slices.Clone(c.replicas), func(p *Process) bool { return p == stopped })
			before := statusOf(t, third, sessionKeyName).Active
			cookies := []string{staff[0].Jar.Get("__Host-bff_session").Value, staff[1].Jar.Get("__Host-bff_session").Value}

			stopped.Signal(syscall.SIGSTOP)
			asked := ask(t, third, false, sessionKeyName, tokenHashSaltName)
			users := c.work(t, staff, awake, 503)
			wantWaiting(t, third, sessionKeyName)
			tc.away()
			time.Sleep(3 * time.Second) // less than it takes a replica to be given up
			tc.back()
			soon(t, "the fleet can be asked", func() bool {
				return operate(t, third, "GET", "/admin/v1/status", nil).StatusCode == 200
			})
			if got := statusOf(t, third, sessionKeyName).Active; got != before {
				t.Errorf("moved although one replica can't hold it: %s", got)
			}
			stopped.Signal(syscall.SIGCONT)
			await(t, third, asked)
			users.end(t)
			for i, b := range staff {
				if kept := b.Jar.Get("__Host-bff_session"); kept == nil || kept.Value != cookies[i] {
					t.Error("a session cookie was taken away")
				}
			}
			c.enterEverywhere(t)
			wantStaff(t, c, staff)
		})
	}
	t.Run("the leader is killed", func(t *testing.T) {
		threat.Covers(t, 58)
		leader, stopped, third := c.roles(t)
		stopped.Signal(syscall.SIGSTOP)
		asked := ask(t, third, false, sessionKeyName, csrfKeyName)
		wantWaiting(t, third, sessionKeyName)
		leader.Kill9()
		stopped.Signal(syscall.SIGCONT)
		users := c.work(t, staff, []*Process{stopped, third})
		await(t, third, asked)
		users.end(t)
		if now := fleetOf(t, third).Leader; now == "" {
			t.Error("nobody leads")
		}
		i := slices.Index(c.replicas, leader)
		c.again(i, func(Env) {})
		c.enterEverywhere(t)
		wantStaff(t, c, staff)
	})
}

// roles are the replica that leads, and the two others. The first to start was the
// first in the roll.
func (c *crew) roles(t testing.TB) (leader, second, third *Process) {
	t.Helper()
	soon(t, "one of the three leads", func() bool {
		s := fleetOf(t, c.replicas[0])
		live := slices.DeleteFunc(s.Replicas, func(r admin.ReplicaStatus) bool { return !r.Live })
		slices.SortFunc(live, func(a, b admin.ReplicaStatus) int { return a.StartedAt.Compare(b.StartedAt) })
		i := slices.IndexFunc(live, func(r admin.ReplicaStatus) bool { return r.ID == s.Leader })
		if len(live) != 3 || i < 0 {
			return false
		}
		leader, second, third = c.replicas[i], c.replicas[(i+1)%3], c.replicas[(i+2)%3]
		return true
	})
	return leader, second, third
}

// wantWaiting waits until the rotation is seen to wait for somebody, who is named.
func wantWaiting(t testing.TB, p *Process, name string) {
	t.Helper()
	var s admin.SecretStatus
	for deadline := time.Now().Add(11 * time.Second); time.Now().Before(deadline); time.Sleep(60 * time.Millisecond) {
		s = statusOf(t, p, name)
		if s.Rotation != nil && s.Rotation.Outcome == "" && len(s.Blocked) == 1 {
			return
		}
	}
	t.Fatalf("%s does not wait for the one that is stopped: %+v %+v\n%+v", name, s, s.Rotation, fleetOf(t, p).Replicas)
}

func wantStaff(t testing.TB, c *crew, staff []*Browser) {
	t.Helper()
	for _, b := range staff {
		for _, p := range c.replicas {
			wantStatus(t, b.At(p.URL).Get(t, "/api/notes"), 200)
		}
	}
}

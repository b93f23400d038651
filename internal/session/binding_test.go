package session_test

import (
	"errors"
	"net/netip"
	"testing"

	"keyway/internal/problem"
	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

func from(addr, ua string) session.Client {
	return session.Client{Addr: netip.MustParseAddr(addr), UserAgent: ua}
}

func TestBinding(t *testing.T) {
	threat.Covers(t, 32)
	all := session.BindingOptions{PrefixV4: 24, PrefixV6: 56, UserAgent: true}
	for _, tc := range []struct {
		name   string
		o      session.BindingOptions
		at, by session.Client
		reason string
	}{
		{"the same", all, from("192.0.2.7", "a"), from("192.0.2.7", "a"), ""},
		{"the same prefix", all, from("192.0.2.7", "a"), from("192.0.2.200", "a"), ""},
		{"a new prefix", all, from("192.0.2.7", "a"), from("192.0.3.7", "a"), "address"},
		{"v4-mapped v6 is the v4", all, from("192.0.2.7", "a"), from("::ffff:192.0.2.9", "a"), ""},
		{"and the other way round", all, from("::ffff:192.0.2.9", "a"), from("192.0.2.7", "a"), ""},
		{"v4-mapped v6 of a new prefix", all, from("192.0.2.7", "a"), from("::ffff:192.0.3.9", "a"), "address"},
		{"v4 written into a v6 that is none", all, from("192.0.2.7", "a"), from("::192.0.2.7", "a"), "address"},
		{"the same v6 prefix", all, from("2001:db8::1", "a"), from("2001:db8:0:ff::2", "a"), ""},
		{"a new v6 prefix", all, from("2001:db8::1", "a"), from("2001:db8:0:100::1", "a"), "address"},
		{"the other family", all, from("192.0.2.7", "a"), from("2001:db8::1", "a"), "address"},
		{"a zone counts for nothing", all, from("fe80::1%eth0", "a"), from("fe80::1%eth1", "a"), ""},
		{"a new browser", all, from("192.0.2.7", "a"), from("192.0.2.7", "b"), "user_agent"},
		{"no browser named", all, from("192.0.2.7", "a"), from("192.0.2.7", ""), "user_agent"},
		{"no address known", all, from("192.0.2.7", "a"), session.Client{UserAgent: "a"}, "address"},
		{"bound to the browser only", session.BindingOptions{UserAgent: true}, from("192.0.2.7", "a"), from("203.0.113.1", "a"), ""},
		{"bound to v4 only, comes by v6", session.BindingOptions{PrefixV4: 32}, from("2001:db8::1", ""), from("2001:db9::1", ""), ""},
		{"not bound", session.BindingOptions{}, from("192.0.2.7", "a"), from("203.0.113.1", "b"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := sessiontest.Manager(t, memoryStore(t), func(o *session.Options) { o.Binding = tc.o })
			c, _, err := m.Create(t.Context(), ada(), tc.at)
			if err != nil {
				t.Fatal(err)
			}
			header := sessiontest.Header(c)
			for range 2 { // the second is answered from the cache
				_, err = m.Find(t.Context(), header, tc.by)
				if tc.reason == "" && err != nil {
					t.Fatalf("refused: %v", err)
				}
				if be, ok := errors.AsType[*session.BindingError](err); tc.reason != "" && (!ok || be.Reason != tc.reason || !errors.Is(err, session.ErrBinding)) {
					t.Fatalf("got %v, want a refusal because of the %s", err, tc.reason)
				}
			}
			if tc.reason != "" && problem.CodeOf(err) != problem.Unauthenticated {
				t.Errorf("shown as %s", problem.CodeOf(err))
			}
			if _, err := m.Find(t.Context(), header, tc.at); err != nil {
				t.Errorf("the session was not kept: %v", err)
			}
		})
	}
}

func TestChangingTheBindingRefusesNobodyWhoStayed(t *testing.T) {
	shared := session.NewShared(memoryStore(t), session.SharedOptions{})
	defer shared.Close(t.Context())
	with := func(b session.BindingOptions) *session.Manager {
		return sessiontest.ManagerOn(t, shared, func(o *session.Options) { o.Binding = b })
	}
	home, away := from("192.0.2.7", "a"), from("203.0.113.1", "a")
	find := func(m *session.Manager, header []string, c session.Client) error {
		_, err := m.Find(t.Context(), header, c)
		return err
	}
	off, narrow, wide := with(session.BindingOptions{}), with(session.BindingOptions{PrefixV4: 32}), with(session.BindingOptions{PrefixV4: 16})

	c, _, err := wide.Create(t.Context(), ada(), home)
	if err != nil {
		t.Fatal(err)
	}
	header := sessiontest.Header(c)
	if err := find(narrow, header, home); err != nil {
		t.Errorf("narrower: %v", err)
	}
	if err := find(narrow, header, away); !errors.Is(err, session.ErrBinding) {
		t.Errorf("narrower, from elsewhere: %v", err)
	}
	if err := find(off, header, away); err != nil {
		t.Errorf("switched off: %v", err)
	}
	if err := find(wide, header, away); !errors.Is(err, session.ErrBinding) {
		t.Errorf("what one generation let pass, another did too: %v", err)
	}
	if c, _, err = off.Create(t.Context(), ada(), home); err != nil {
		t.Fatal(err)
	}
	if err := find(wide, sessiontest.Header(c), away); err != nil {
		t.Errorf("a session from before binding was switched on: %v", err)
	}
}

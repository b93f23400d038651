package admin

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// users is a Sessions with one session of ada's.
type users struct {
	mu    sync.Mutex
	asked []string
	most  int
	err   error
}

func (u *users) did(what ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = append(u.asked, strings.Join(what, " "))
}

func (u *users) List(_ context.Context, w Whose, most int) ([]Session, bool, error) {
	u.did("list", w.Issuer, w.Subject, w.SID)
	u.mu.Lock()
	u.most = most
	u.mu.Unlock()
	if w.Subject == "nobody" {
		return nil, false, u.err
	}
	return []Session{{
		PublicID: "pub-1", Provider: "demo", Issuer: "https://idp.example", Subject: "ada", SID: "s-1", Email: "ada@example.com", Name: "Ada",
		CreatedAt: start, AuthTime: start, ExpiresAt: start.Add(time.Hour), AbsoluteExpiresAt: start.Add(2 * time.Hour),
	}}, true, u.err
}

func (u *users) End(_ context.Context, id, by string) (bool, error) {
	u.did("end", id, by)
	return id == "pub-1", u.err
}

func (u *users) EndAll(_ context.Context, w Whose, by string) (int, error) {
	u.did("end all", w.Issuer, w.Subject, w.SID, by)
	return 3, u.err
}

func (u *users) last() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.asked) == 0 {
		return ""
	}
	return u.asked[len(u.asked)-1]
}

func serveUsers(t *testing.T) (server, *users) {
	t.Helper()
	u := &users{}
	control := newFake()
	return serveOptions(t, Options{Control: control, Sessions: u, Loopback: true}, control), u
}

func TestSessionsAreListed(t *testing.T) {
	s, u := serveUsers(t)
	s.do(t, "GET", "/admin/v1/sessions", "").want(t, 200, `"public_id":"pub-1"`, `"more":true`, `"email":"ada@example.com"`)
	if u.last() != "list   " || u.most != 100 {
		t.Errorf("asked %q, at most %d", u.last(), u.most)
	}
	s.do(t, "GET", "/admin/v1/sessions?subject=nobody&issuer=https%3A%2F%2Fother.example&sid=s%201&most=1000", "").want(t, 200, `"sessions":[]`, `"more":false`)
	if u.last() != "list https://other.example nobody s 1" || u.most != 1000 {
		t.Errorf("asked %q, at most %d", u.last(), u.most)
	}
	s.do(t, "HEAD", "/admin/v1/sessions", "").want(t, 200)
}

func TestSessionsAreEnded(t *testing.T) {
	s, u := serveUsers(t)
	a := s.do(t, "DELETE", "/admin/v1/sessions/pub-1", "")
	a.want(t, 204)
	if u.last() != "end pub-1 admin API, from this machine" || a.text != "" {
		t.Errorf("asked %q, answered %q", u.last(), a.text)
	}
	s.do(t, "DELETE", "/admin/v1/sessions/pub-2", "").want(t, 404, `"code":"unknown_session"`, "keyway sessions list")
	s.do(t, "DELETE", "/admin/v1/sessions?subject=ada", "").want(t, 200, `{"ended":3}`)
	if u.last() != "end all  ada  admin API, from this machine" {
		t.Errorf("asked %q", u.last())
	}
	s.do(t, "DELETE", "/admin/v1/sessions?sid=s&issuer=i", "").want(t, 200, `{"ended":3}`)
	u.err = errors.New("the store is away")
	s.do(t, "DELETE", "/admin/v1/sessions?subject=ada", "").want(t, 503, "the store is away")
	s.do(t, "DELETE", "/admin/v1/sessions/pub-1", "").want(t, 503)
	s.do(t, "GET", "/admin/v1/sessions", "").want(t, 503)
}

// A query that says less than was meant must not end, or show, more.
func TestNobodysSessionsEndByMistake(t *testing.T) {
	s, u := serveUsers(t)
	for _, query := range []string{
		"", "?issuer=https%3A%2F%2Fidp.example", "?subject=", "?subject=ada&subject=grace", "?Subject=ada", "?subjct=ada", "?user=ada&subject=ada",
		"?subject=%zz", "?subject=ada;sid=x", "?subject=" + strings.Repeat("a", 2049), "?subject=ada&most=5", "?subject=ada&issuer=",
	} {
		s.do(t, "DELETE", "/admin/v1/sessions"+query, "").want(t, 400, `"code":"bad_request"`)
	}
	s.do(t, "DELETE", "/admin/v1/sessions", "").want(t, 400, "rotate token-hash-salt --compromised")
	for _, query := range []string{"?most=0", "?most=1001", "?most=x", "?most=1&most=2", "?issuer=i", "?all=1", "?sid="} {
		s.do(t, "GET", "/admin/v1/sessions"+query, "").want(t, 400)
	}
	for _, path := range []string{"/admin/v1/sessions/", "/admin/v1/sessions/" + strings.Repeat("a", 129)} {
		s.do(t, "DELETE", path, "").want(t, 400)
	}
	s.do(t, "GET", "/admin/v1/sessions/pub-1", "").want(t, 405)
	s.do(t, "POST", "/admin/v1/sessions", "{}").want(t, 405)
	if u.last() != "" {
		t.Errorf("asked %q", u.last())
	}
}

// What a page of another site has a browser send ends nothing.
func TestAnotherSitesPageEndsNothing(t *testing.T) {
	s, u := serveUsers(t)
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Origin: https://attacker.example", "Sec-Fetch-Site: same-site", "Origin: null"} {
		s.do(t, "DELETE", "/admin/v1/sessions?subject=ada", "", header).want(t, 403)
		s.do(t, "DELETE", "/admin/v1/sessions/pub-1", "", header).want(t, 403)
		s.do(t, "GET", "/admin/v1/sessions", "", header).want(t, 403)
	}
	s.do(t, "DELETE", "/admin/v1/sessions?subject=ada", "", "Host: attacker.example").want(t, 403)
	if u.last() != "" {
		t.Errorf("asked %q", u.last())
	}
	locked := serve(t, true)
	locked.do(t, "DELETE", "/admin/v1/sessions?subject=ada", "").want(t, 401)
	locked.do(t, "GET", "/admin/v1/sessions", "").want(t, 401)
	// And where there is no such thing, that is what is said.
	without := serve(t, false)
	without.do(t, "GET", "/admin/v1/sessions", "").want(t, 404, "no list of sessions")
	without.do(t, "DELETE", "/admin/v1/sessions?subject=ada", "").want(t, 404)
	without.do(t, "DELETE", "/admin/v1/sessions/pub-1", "").want(t, 404)
}

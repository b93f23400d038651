package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/gateway"
	"keyway/internal/keyring"
	"keyway/internal/limit"
	"keyway/internal/session"
	"keyway/internal/telemetry"
	"keyway/internal/threat"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logouts is a world whose IdP's ID tokens are known, so that it can be said whom a
// logout token names.
type logouts struct {
	*world
	mu   sync.Mutex
	last map[string]any // claims of the ID token that was issued last
}

func startLogouts(t *testing.T, options ...option) *logouts {
	t.Helper()
	l := &logouts{world: start(t, options...)}
	l.idp.SetHooks(&idp.Hooks{IDToken: func(t *idp.JWT) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last = t.Claims
	}})
	return l
}

// signIn signs ada in, and says what the IdP calls her and her session.
func (l *logouts) signIn() (u *user, sub, sid string) {
	l.t.Helper()
	u = l.user().signIn()
	l.mu.Lock()
	defer l.mu.Unlock()
	sub, _ = l.last["sub"].(string)
	sid, _ = l.last["sid"].(string)
	if sub == "" || sid == "" {
		l.t.Fatalf("the ID token says %v", l.last)
	}
	return u, sub, sid
}

// claims of a good logout token.
func (l *logouts) claims(sub, sid string) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": l.idp.URL, "aud": "keyway", "iat": now, "exp": now + 120, "jti": fmt.Sprint("jti-", time.Now().UnixNano()),
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	if sub != "" {
		c["sub"] = sub
	}
	if sid != "" {
		c["sid"] = sid
	}
	return c
}

func (l *logouts) sign(header, claims map[string]any) string {
	l.t.Helper()
	if header == nil {
		header = map[string]any{"typ": "logout+jwt"}
	}
	token, err := l.idp.Sign(header, claims)
	must(l.t, err)
	return token
}

// raw sends bytes and reads one answer.
func (l *logouts) raw(request string) response {
	l.t.Helper()
	c, err := net.Dial("tcp", l.server.Listener.Addr().String())
	must(l.t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	sent := make(chan struct{})
	go func() { // a server need not read it all before it answers
		defer close(sent)
		_, _ = io.WriteString(c, request)
	}()
	method, _, _ := strings.Cut(request, " ")
	answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	must(l.t, err)
	body, _ := io.ReadAll(answer.Body)
	c.Close()
	<-sent
	return response{answer.StatusCode, answer.Header, string(body)}
}

func post(contentType, body string) string {
	return fmt.Sprintf("POST /auth/backchannel-logout HTTP/1.1\r\nHost: app.example\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(body), body)
}

const formType = "application/x-www-form-urlencoded"

func form(token string) string { return post(formType, "logout_token="+url.QueryEscape(token)) }

// second is another gateway on the same store.
func (w *world) second() *world {
	w.t.Helper()
	other := &world{t: w.t, log: w.log}
	shared := session.NewShared(w.store.Store, session.SharedOptions{})
	g := gateway.New(gateway.Options{
		Current: other.current.Load, Log: slog.New(slog.NewJSONHandler(w.log, nil)), Metrics: telemetry.NewMetrics(),
		Health: &gateway.Health{Store: shared.Ping},
	})
	other.server = httptest.NewServer(g)
	w.t.Cleanup(func() {
		other.server.Close()
		g.Wait()
		_ = shared.Close(w.t.Context())
	})
	other.current.Store(w.generation(shared, func(string) []keyring.Version { return one("v1") }))
	return other
}

// at is the same browser, at another replica.
func (u *user) at(w *world) *user {
	here, _ := url.Parse(u.w.server.URL)
	there, _ := url.Parse(w.server.URL)
	other := w.user()
	other.client.Jar.SetCookies(there, u.client.Jar.Cookies(here))
	return other
}

func TestBackchannelLogout(t *testing.T) {
	for _, by := range []string{"sid", "sub", "both"} {
		for _, typ := range []string{"logout+jwt", "JWT", "", "application/logout+jwt"} {
			t.Run(by+" "+typ, func(t *testing.T) {
				threat.Covers(t, 52, 53)
				l := startLogouts(t)
				two := l.second()
				u, sub, sid := l.signIn()
				other, _, otherSID := l.signIn()
				if sid == otherSID {
					t.Fatal("two sessions at the IdP have one sid")
				}
				there := u.at(two)
				if !there.signedIn() || !other.at(two).signedIn() {
					t.Fatal("not signed in at the other replica")
				}
				claims := l.claims(sub, sid)
				switch by {
				case "sid":
					delete(claims, "sub")
				case "sub":
					delete(claims, "sid")
				}
				header := map[string]any{"typ": typ}
				if typ == "" {
					header = map[string]any{}
				}
				token := l.sign(header, claims)
				began := time.Now()
				if got := l.raw(form(token)); got.status != 200 || got.header.Get("Cache-Control") != "no-store" || got.body != "" {
					t.Fatalf("%d %v %s", got.status, got.header, got.body)
				}
				for there.signedIn() {
					if time.Since(began) > time.Second {
						t.Fatal("a second later the session still counts on the other replica")
					}
				}
				if u.signedIn() {
					t.Error("still signed in here")
				}
				if got := other.signedIn(); got != (by != "sub") {
					t.Errorf("the other session of the user: signed in %v", got)
				}
				if got := l.raw(form(token)); got.status != 400 || got.code() != "invalid_logout_token" {
					t.Errorf("the same jti again: %d %s", got.status, got.body)
				}
				if log := l.log.String(); !strings.Contains(log, `"ended":`) || strings.Contains(log, sub) || strings.Contains(log, sid) {
					t.Errorf("the log: %s", log)
				}
			})
		}
	}
}

func TestBackchannelLogoutOfNobody(t *testing.T) {
	threat.Covers(t, 52)
	l := startLogouts(t)
	u, sub, sid := l.signIn()
	for name, claims := range map[string]map[string]any{
		"sub of nobody":                     l.claims("nobody", ""),
		"sid of nobody":                     l.claims("", "nobody"),
		"sid of one, sub of another person": l.claims("nobody", sid),
		"sub of one, sid of nobody":         l.claims(sub, "nobody"),
		"issued before the sign-in":         func() map[string]any { c := l.claims(sub, sid); c["iat"] = time.Now().Unix() - 300; return c }(),
	} {
		t.Run(name, func(t *testing.T) {
			if got := l.raw(form(l.sign(nil, claims))); got.status != 200 || !u.signedIn() {
				t.Errorf("%d %s, signed in %v", got.status, got.body, u.signedIn())
			}
		})
	}
	// No cookie and no origin counts, for or against.
	request := post(formType, "state=x&state=y&logout_token="+l.sign(nil, l.claims(sub, sid)))
	request = strings.Replace(request, "Host:", "Origin: null\r\nSec-Fetch-Site: cross-site\r\nCookie: bff_session=x\r\nHost:", 1)
	if got := l.raw(request); got.status != 200 || u.signedIn() {
		t.Errorf("%d %s, signed in %v", got.status, got.body, u.signedIn())
	}
}

// A store that is away decides nothing, and uses no token up.
func TestBackchannelLogoutWithoutStore(t *testing.T) {
	threat.Covers(t, 52)
	l := startLogouts(t)
	u, sub, sid := l.signIn()
	token := l.sign(nil, l.claims(sub, sid))
	l.store.goAway()
	if got := l.raw(form(token)); got.status != 503 || got.code() != "sessions_unavailable" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", got.status, got.body)
	}
	l.store.away.Store(false)
	if got := l.raw(form(token)); got.status != 200 || u.signedIn() {
		t.Errorf("once it is back: %d %s", got.status, got.body)
	}
}

// Ending can fail after the claim, and then the token is good for another try.
func TestBackchannelLogoutIsGivenBack(t *testing.T) {
	threat.Covers(t, 52)
	l := startLogouts(t)
	u, sub, sid := l.signIn()
	token := l.sign(nil, l.claims(sub, sid))
	l.store.noDeletes.Store(true)
	if got := l.raw(form(token)); got.status != 503 || got.code() != "sessions_unavailable" {
		t.Errorf("%d %s", got.status, got.body)
	}
	l.store.noDeletes.Store(false)
	if !u.signedIn() {
		t.Error("signed out, though it was said that it failed")
	}
	if got := l.raw(form(token)); got.status != 200 || u.signedIn() {
		t.Errorf("again: %d %s", got.status, got.body)
	}
}

// One token that comes many times at once is obeyed once.
func TestBackchannelLogoutAtOnce(t *testing.T) {
	threat.Covers(t, 52)
	l := startLogouts(t)
	_, sub, sid := l.signIn()
	token := l.sign(nil, l.claims(sub, sid))
	var all sync.WaitGroup
	statuses := make(chan int, 8)
	for range cap(statuses) {
		all.Go(func() { statuses <- l.raw(form(token)).status })
	}
	all.Wait()
	close(statuses)
	count := map[int]int{}
	for s := range statuses {
		count[s]++
	}
	if count[200] != 1 || count[400] != 7 {
		t.Errorf("answers: %v", count)
	}
}

func TestBackchannelLogoutWithoutIdP(t *testing.T) {
	l := startLogouts(t)
	parts := l.current.Load().Parts
	parts.SignIn = nil
	l.current.Store(gateway.NewGeneration(parts))
	if got := l.raw(form("a.b.c")); got.status != 404 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// Whoever shares the IdP's address, or is taken for it, keeps nobody signed in: lies
// are refused faster, and the IdP's word counts.
func TestBackchannelLogoutAmongAFloodOfLies(t *testing.T) {
	threat.Covers(t, 52, 71)
	l := startLogouts(t, limited(map[limit.Kind]limit.Rate{limit.BackchannelLogout: perHour(3)}))
	ada, _, sid := l.signIn()
	lie := l.claims("", sid)
	lie["aud"] = "somebody-else"
	used := form(l.sign(nil, l.claims("", "nobody's")))
	if got := l.raw(used); got.status != 200 {
		t.Fatalf("a session that is not there: %d %s", got.status, got.body)
	}
	flood := []string{form("junk"), form(l.sign(nil, lie)), used, post("text/plain", "x")}
	for i := range 12 {
		got := l.raw(flood[i%len(flood)])
		if i < 3 && got.status != 400 || i >= 3 && (got.status != 429 || got.header.Get("Retry-After") == "") {
			t.Errorf("lie %d: %d %s", i, got.status, got.body)
		}
	}
	if got := ada.do("GET", "/api/notes"); got.status != 200 {
		t.Fatalf("after the lies: %d %s", got.status, got.body)
	}
	if got := l.raw(form(l.sign(nil, l.claims("", sid)))); got.status != 200 {
		t.Errorf("the IdP: %d %s", got.status, got.body)
	}
	if got := ada.do("GET", "/api/notes"); got.status != 401 {
		t.Errorf("signed out at the IdP: %d %s", got.status, got.body)
	}
}

// Who is signed out by his name, and signs in again within the same second, is let in.
func TestSignInInTheSecondOfABackchannelLogout(t *testing.T) {
	threat.Covers(t, 53)
	l := startLogouts(t)
	second := time.Now().Unix()
	l.idp.SetHooks(&idp.Hooks{IDToken: func(t *idp.JWT) {
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Claims["iat"] = second
		l.last = t.Claims
	}})
	before, sub, _ := l.signIn()
	claims := l.claims(sub, "")
	claims["iat"] = second
	if got := l.raw(form(l.sign(nil, claims))); got.status != 200 || before.signedIn() {
		t.Fatalf("signed out: %d %s, signed in %v", got.status, got.body, before.signedIn())
	}
	if again, _, _ := l.signIn(); !again.signedIn() {
		t.Error("who signed in again is not signed in")
	}
}

// Keys that nobody has can't be told from new ones while it is too soon to look; but
// who floods us with them is stopped, and what the IdP signs by a key that is known is
// obeyed.
func TestBackchannelLogoutAmongAFloodOfMadeUpKeys(t *testing.T) {
	threat.Covers(t, 8, 52, 71)
	l := startLogouts(t, limited(map[limit.Kind]limit.Rate{limit.BackchannelLogout: perHour(3)}))
	_, _, sid := l.signIn()
	before := l.idp.Stats().Of(idp.EndpointJWKS)
	for i := range 8 {
		got := l.raw(form(l.sign(map[string]any{"typ": "logout+jwt", "kid": fmt.Sprint("made-up-", i)}, l.claims("", sid))))
		want := 429
		switch {
		case i == 0:
			want = 400 // the keys were looked at for it
		case i < 3:
			want = 503
		}
		if retry := got.header.Get("Retry-After"); got.status != want || (retry == "") != (want == 400) {
			t.Errorf("token %d: %d %s, Retry-After %q, want %d", i, got.status, got.body, retry, want)
		}
	}
	if got := l.idp.Stats().Of(idp.EndpointJWKS) - before; got != 1 {
		t.Errorf("the keys were fetched %d times", got)
	}
	if got := l.raw(form(l.sign(nil, l.claims("", sid)))); got.status != 200 {
		t.Errorf("the IdP: %d %s", got.status, got.body)
	}
}

// Everybody of a company signs out at once, more than the rate has room for.
func TestBackchannelLogoutOfMany(t *testing.T) {
	threat.Covers(t, 53)
	l := startLogouts(t, limited(map[limit.Kind]limit.Rate{limit.BackchannelLogout: perHour(2)}))
	for i := range 8 {
		if got := l.raw(form(l.sign(nil, l.claims(fmt.Sprint("user-", i), "")))); got.status != 200 {
			t.Errorf("token %d: %d %s", i, got.status, got.body)
		}
	}
}

package storm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"keyway/internal/testkit/realidp"
)

// Kinds of requests, as the report has them.
const (
	kindSignIn   = "sign-in"
	kindCallback = "callback of a sign-in"
	kindCSRF     = "CSRF token"
	kindCall     = "session call"
	kindVerify   = "forward auth"
	kindSession  = "session asked for"
	kindPostOld  = "POST, CSRF token as old as the session"
	kindPostNew  = "POST, CSRF token of the cookie"
	kindStream   = "stream opened"
	kindSignOut  = "sign-out"
	kindAfter    = "call after sign-out"
	kindBearer   = "bearer call"
)

// user signs in, does this and that, signs out, and begins again, until ctx ends.
func (w *world) user(ctx context.Context, n int) {
	random := rand.New(rand.NewPCG(w.o.seed, uint64(n)))
	for n1 := 0; ctx.Err() == nil; n1++ {
		u := &life{
			browser: w.newBrowser(fmt.Sprintf("user %d, sign-in %d", n, n1+1)),
			random:  random, long: n%3 == 0, stream: n%2 == 0,
		}
		if !u.live(ctx) && !pause(ctx, 200*time.Millisecond) {
			return
		}
	}
}

// life is one sign-in of a user, and all that is done with it.
type life struct {
	*browser
	random *rand.Rand
	long   bool // as long as a session lasts
	stream bool // holds a stream open
	csrf   string
}

// live reports whether the life went to its natural end.
func (u *life) live(ctx context.Context) bool {
	if !u.signIn(ctx) {
		return false
	}
	last := u.w.o.lifetime - 3*time.Second
	if !u.long {
		last = min(last, 2*time.Second+time.Duration(u.random.Int64N(int64(u.w.o.life))))
	}
	u.w.ledger.sessionBegan()
	living, die := context.WithDeadline(ctx, u.signed.Add(last))
	defer die()
	var streaming sync.WaitGroup
	defer streaming.Wait()
	defer die()
	if !u.fetchCSRF(living) {
		return false
	}
	if u.stream {
		streaming.Go(func() { u.listen(living) })
	}
	for pause(living, time.Duration(50+u.random.IntN(150))*time.Millisecond) {
		// A request that has begun is waited for: only the pauses end with the life.
		if !u.act(ctx) {
			return false
		}
	}
	if ctx.Err() != nil {
		return true
	}
	die()
	streaming.Wait()
	return u.signOut(ctx)
}

// signIn goes the whole way. Some people take long for their password.
func (u *life) signIn(ctx context.Context) bool {
	a, v := u.ask(ctx, kindSignIn, "GET", "/auth/login?"+url.Values{"return_to": {"/api/notes"}}.Encode(), "", []int{http.StatusFound, http.StatusSeeOther})
	if v != served {
		return false
	}
	if u.random.IntN(3) == 0 && !pause(ctx, time.Duration(u.random.Int64N(int64(u.w.o.slow)))) {
		return false
	}
	idp := *u.http
	idp.Transport = u.w.direct
	callback, err := realidp.Walk(&idp, a.header.Get("Location"), map[string]string{"username": "ada", "password": "demo"})
	if err != nil {
		if ctx.Err() == nil {
			u.w.ledger.fail(u.browser, answer{kind: kindSignIn, method: "GET", path: "the provider's pages", from: a.from, to: time.Now(), replica: a.replica, err: err}, wrong)
		}
		return false
	}
	if ctx.Err() != nil {
		return false
	}
	began := time.Now()
	a, v = u.ask(ctx, kindCallback, "GET", callback, "", []int{http.StatusFound, http.StatusSeeOther})
	if v != served {
		return false
	}
	if u.jar.Get(sessionCookie) == nil {
		u.w.ledger.fail(u.browser, a, wrong)
		return false
	}
	u.signed = began
	u.w.ledger.hide(u.jar.Get(sessionCookie).Value)
	return true
}

// fetchCSRF gets the token that is used for the whole life, as a page has it that
// stays open.
func (u *life) fetchCSRF(ctx context.Context) bool {
	for ctx.Err() == nil {
		a, v := u.ask(ctx, kindCSRF, "GET", "/auth/csrf", "", []int{http.StatusOK})
		switch v {
		case served:
			var got struct {
				Token string `json:"csrf_token"`
			}
			_ = json.Unmarshal([]byte(a.body), &got)
			u.csrf = got.Token
			u.w.ledger.hide(got.Token)
			return u.csrf != ""
		case ended, wrong, over:
			return false
		}
		pause(ctx, 200*time.Millisecond)
	}
	return false
}

// act does one thing, and reports whether the session is still there.
func (u *life) act(ctx context.Context) bool {
	var v verdict
	switch n := u.random.IntN(10); {
	case n < 4:
		_, v = u.ask(ctx, kindCall, "GET", "/api/notes", "", []int{http.StatusOK})
	case n < 5:
		_, v = u.ask(ctx, kindVerify, "GET", "/auth/verify", "", []int{http.StatusOK})
	case n < 6:
		v = u.isSignedIn(ctx)
	case n < 8:
		_, v = u.ask(ctx, kindPostOld, "POST", "/api/notes", `{"text":"old"}`, []int{http.StatusCreated}, "X-CSRF-Token", u.csrf)
	default:
		token := u.csrf
		if c := u.jar.Get("bff_csrf"); c != nil {
			token = c.Value
		}
		_, v = u.ask(ctx, kindPostNew, "POST", "/api/notes", `{"text":"new"}`, []int{http.StatusCreated}, "X-CSRF-Token", token)
	}
	return v != ended
}

func (u *life) isSignedIn(ctx context.Context) verdict {
	a, v := u.ask(ctx, kindSession, "GET", "/auth/session", "", []int{http.StatusOK})
	if v == served && !strings.Contains(a.body, `"authenticated":true`) {
		u.w.ledger.fail(u.browser, a, ended)
		return ended
	}
	return v
}

// signOut ends the session, and sees that it has ended.
func (u *life) signOut(ctx context.Context) bool {
	cookie := u.jar.Get(sessionCookie)
	_, v := u.ask(ctx, kindSignOut, "POST", "/auth/logout", "", []int{http.StatusFound, http.StatusSeeOther}, "X-CSRF-Token", u.csrf)
	if v != served || cookie == nil {
		return v != ended
	}
	u.signed = time.Time{}
	// With the cookie that a thief might have kept. Other replicas may take a second
	// to hear of it.
	if !pause(ctx, 1200*time.Millisecond) {
		return true
	}
	_, _ = u.ask(ctx, kindAfter, "GET", "/api/notes", "", []int{http.StatusUnauthorized}, "Cookie", sessionCookie+"="+cookie.Value)
	return true
}

// listen holds a stream open. Only the end of the life, or of the stream's
// replica, may end it.
func (u *life) listen(ctx context.Context) {
	for ctx.Err() == nil {
		a := answer{kind: kindStream, method: "GET", path: "/api/ticks", from: time.Now()}
		u.hear(ctx, &a)
		a.to = time.Now()
		v := u.judge(ctx, &a, []int{http.StatusOK})
		if ctx.Err() != nil {
			v = over
		}
		u.w.ledger.count(u.browser, a, v)
		if v == wrong || v == ended || !pause(ctx, 300*time.Millisecond) {
			return
		}
	}
}

// stallsAfter is how long a stream may be silent that ticks twice a second.
const stallsAfter = 10 * time.Second

func (u *life) hear(ctx context.Context, a *answer) {
	ctx, hangUp := context.WithCancelCause(ctx)
	defer hangUp(nil)
	req, err := http.NewRequestWithContext(ctx, "GET", u.w.public+a.path, nil)
	if err != nil {
		a.err = err
		return
	}
	endless := *u.http
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		a.err = err
		return
	}
	defer resp.Body.Close()
	a.status, a.header, a.replica = resp.StatusCode, resp.Header, resp.Header.Get(replicaHeader)
	if a.status != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		a.body = string(text)
		return
	}
	u.w.ledger.streamOpened()
	silent := time.AfterFunc(stallsAfter, func() { hangUp(errStalled) })
	defer silent.Stop()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		silent.Reset(stallsAfter)
	}
	a.err = lines.Err()
	if cause := context.Cause(ctx); cause == errStalled { //nolint:errorlint // it is set above
		a.err = cause
	}
	if a.err == nil {
		a.err = fmt.Errorf("the stream ended after %s", time.Since(a.from).Round(time.Millisecond))
	}
}

package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/threat"
)

// issuer is a key set endpoint without a network, so that synctest can run the
// clock.
type issuer struct {
	mu      sync.Mutex
	body    []byte
	header  http.Header
	status  int
	fail    error
	delay   time.Duration
	fetches int
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.fetches++
	body, header, status, fail, delay := i.body, i.header, i.status, i.fail, i.delay
	i.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if fail != nil {
		return nil, fail
	}
	if status == 0 {
		status = 200
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(string(body))), Request: r}, nil
}

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func remoteOf(i *issuer, change ...func(*RemoteOptions)) *Remote {
	o := RemoteOptions{
		Locate: func(context.Context) (string, error) { return "https://idp.example/jwks", nil },
		Client: &http.Client{Transport: i},
	}
	for _, c := range change {
		c(&o)
	}
	return NewRemote(o)
}

var claims = map[string]string{"sub": "ada"}

func TestRemoteKeyRotatedBeforeSigning(t *testing.T) {
	threat.Covers(t, 8)
	synctest.Test(t, func(t *testing.T) {
		first, second := newEC(t), newEC(t)
		idp := &issuer{body: document(t, first.Public())}
		r := remoteOf(idp)
		if _, _, err := r.Verify(t.Context(), sign(t, first, first.ID(), ES256, claims), []string{ES256}); err != nil {
			t.Fatal(err)
		}
		idp.set(func(i *issuer) { i.body = document(t, first.Public(), second.Public()); i.delay = time.Second })
		token := sign(t, second, second.ID(), ES256, claims)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, _, err := r.Verify(t.Context(), token, []string{ES256}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := idp.count(); got != 2 {
			t.Errorf("fetches: got %d, want 2: the first, and one shared by all who met the new key", got)
		}
	})
}

func TestRemoteUnknownKeysAreThrottled(t *testing.T) {
	threat.Covers(t, 8)
	for name, fail := range map[string]error{"issuer answers": nil, "issuer fails": errors.New("refused")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				known, stranger := newEC(t), newEC(t)
				idp := &issuer{body: document(t, known.Public())}
				r := remoteOf(idp, func(o *RemoteOptions) { o.CoolDown = 30 * time.Second })
				good := sign(t, known, known.ID(), ES256, claims)
				if _, _, err := r.Verify(t.Context(), good, []string{ES256}); err != nil {
					t.Fatal(err)
				}
				idp.set(func(i *issuer) { i.fail = fail })
				start := time.Now()
				var parsed [16]Parsed // signing 10,000 tokens would be the slow part
				for i := range parsed {
					p, err := Parse(sign(t, stranger, fmt.Sprint("unknown-", i), ES256, claims), []string{ES256})
					if err != nil {
						t.Fatal(err)
					}
					parsed[i] = p
				}
				for i := range 10_000 {
					p := parsed[i%len(parsed)]
					p.Header.KeyID = fmt.Sprint("unknown-", i)
					_, err := r.Check(t.Context(), p)
					// Who was looked for is unknown; who was not may be a key of a moment ago.
					early, tooSoon := errors.AsType[*CoolDownError](err)
					switch {
					case errors.Is(err, ErrUnavailable) == errors.Is(err, ErrUnknownKey), fail != nil && !errors.Is(err, ErrUnavailable):
						t.Fatalf("unknown key %d: got %v", i, err)
					case fail == nil && tooSoon == errors.Is(err, ErrUnknownKey), tooSoon && (early.Wait <= 0 || early.Wait > 30*time.Second):
						t.Fatalf("unknown key %d: got %v, %+v", i, err, early)
					}
					time.Sleep(12 * time.Millisecond) // 10,000 in two minutes
				}
				allowed := int(time.Since(start)/(30*time.Second)) + 1
				if got := idp.count() - 1; got > allowed {
					t.Errorf("fetches: got %d, want at most %d (one in a cool-down)", got, allowed)
				}
				if _, _, err := r.Verify(t.Context(), good, []string{ES256}); err != nil {
					t.Errorf("a good token during the flood: %v", err)
				}
			})
		})
	}
}

// A key that the issuer begins to sign with while somebody keeps us from looking is
// not refused: it is good as soon as it was said that it would be.
func TestRemoteNewKeyDuringTheCoolDown(t *testing.T) {
	threat.Covers(t, 8)
	synctest.Test(t, func(t *testing.T) {
		old, fresh, stranger := newEC(t), newEC(t), newEC(t)
		idp := &issuer{body: document(t, old.Public())}
		r := remoteOf(idp)
		if _, _, err := r.Verify(t.Context(), sign(t, old, old.ID(), ES256, claims), []string{ES256}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Verify(t.Context(), sign(t, stranger, "made-up", ES256, claims), []string{ES256}); !errors.Is(err, ErrUnknownKey) {
			t.Fatalf("a key that was looked for: %v", err)
		}
		idp.set(func(i *issuer) { i.body = document(t, old.Public(), fresh.Public()) })
		time.Sleep(4 * time.Second)
		token := sign(t, fresh, fresh.ID(), ES256, claims)
		_, _, err := r.Verify(t.Context(), token, []string{ES256})
		early, ok := errors.AsType[*CoolDownError](err)
		if !ok || early.Wait != 11*time.Second || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownKey) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(early.Wait)
		if _, _, err := r.Verify(t.Context(), token, []string{ES256}); err != nil {
			t.Errorf("when it was said to be tried again: %v", err)
		}
	})
}

// A fetch that began before the issuer published its new key has not looked for it.
func TestRemoteNewKeyDuringAFetch(t *testing.T) {
	threat.Covers(t, 8)
	synctest.Test(t, func(t *testing.T) {
		old, fresh, stranger := newEC(t), newEC(t), newEC(t)
		idp := &issuer{body: document(t, old.Public())}
		r := remoteOf(idp)
		verify := func(key Key, kid string) error {
			_, _, err := r.Verify(t.Context(), sign(t, key, kid, ES256, claims), []string{ES256})
			return err
		}
		if err := verify(old, old.ID()); err != nil {
			t.Fatal(err)
		}
		idp.set(func(i *issuer) { i.delay = 3 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := verify(stranger, "made-up"); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("who had it looked for: %v", err)
			}
		})
		time.Sleep(time.Second)
		idp.set(func(i *issuer) { i.body = document(t, old.Public(), fresh.Public()) })
		err := verify(fresh, fresh.ID())
		early, ok := errors.AsType[*CoolDownError](err)
		if !ok || early.Wait != 12*time.Second {
			t.Fatalf("got %v", err)
		}
		wg.Wait()
		time.Sleep(early.Wait)
		if err := verify(fresh, fresh.ID()); err != nil || idp.count() != 3 {
			t.Errorf("when it was said to be tried again: %v, %d fetches", err, idp.count())
		}
	})
}

func TestRemoteHonoursRemovalAndStaysWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		removed, kept := newEC(t), newEC(t)
		idp := &issuer{body: document(t, removed.Public(), kept.Public()), header: http.Header{"Cache-Control": {"public, max-age=600"}}}
		r := remoteOf(idp)
		token := sign(t, removed, removed.ID(), ES256, claims)
		check := func() error {
			_, _, err := r.Verify(t.Context(), token, []string{ES256})
			return err
		}
		if err := check(); err != nil {
			t.Fatal(err)
		}
		idp.set(func(i *issuer) { i.body = document(t, kept.Public()) })
		time.Sleep(7 * time.Minute)
		if err := check(); err != nil || idp.count() != 1 {
			t.Fatalf("inside max-age: %v after %d fetches", err, idp.count())
		}
		time.Sleep(4 * time.Minute)
		if err := check(); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("past max-age: got %v, want the removed key refused", err)
		}
	})
}

func TestRemoteRefreshesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newEC(t)
		idp := &issuer{body: document(t, key.Public()), header: http.Header{"Cache-Control": {"max-age=600"}, "Age": {"100"}}}
		r := remoteOf(idp)
		token := sign(t, key, key.ID(), ES256, claims)
		verify := func() time.Duration {
			start := time.Now()
			if _, _, err := r.Verify(t.Context(), token, []string{ES256}); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		verify()
		idp.set(func(i *issuer) { i.delay = 5 * time.Second })
		time.Sleep(410 * time.Second) // over four fifths of 500 s
		if took := verify(); took != 0 {
			t.Errorf("waited %v for a refresh that nobody needs yet", took)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if idp.count() != 2 {
			t.Errorf("fetches: got %d, want 2", idp.count())
		}
	})
}

func TestRemoteStaleOnlyForABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newEC(t)
		idp := &issuer{body: document(t, key.Public()), header: http.Header{"Cache-Control": {"max-age=999999"}}}
		r := remoteOf(idp, func(o *RemoteOptions) { o.MaxAge, o.StaleFor = time.Hour, 2*time.Hour })
		token := sign(t, key, key.ID(), ES256, claims)
		verify := func() error {
			_, _, err := r.Verify(t.Context(), token, []string{ES256})
			return err
		}
		if err := verify(); err != nil {
			t.Fatal(err)
		}
		for _, trouble := range []func(*issuer){
			func(i *issuer) { i.fail = errors.New("refused") },
			func(i *issuer) { i.fail, i.status = nil, 500 },
			func(i *issuer) { i.status, i.body = 200, []byte(`{"keys":[]}`) },
			func(i *issuer) { i.body = []byte(`{"keys":[` + strings.Repeat(" ", 600<<10) + `]}`) },
		} {
			idp.set(trouble)
			time.Sleep(40 * time.Minute)
			if err := verify(); err != nil {
				t.Fatalf("%v in: %v", idp.count(), err)
			}
		}
		time.Sleep(21 * time.Minute)
		if err := verify(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("past every bound: got %v, want ErrUnavailable", err)
		}
		idp.set(func(i *issuer) { i.body = document(t, key.Public()) })
		time.Sleep(3 * time.Second)
		if err := verify(); err != nil {
			t.Errorf("after the issuer is back: %v", err)
		}
	})
}

func TestRemoteAWaiterCanGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newEC(t)
		idp := &issuer{body: document(t, key.Public()), delay: 3 * time.Second}
		r := remoteOf(idp)
		token := sign(t, key, key.ID(), ES256, claims)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := r.Verify(ctx, token, []string{ES256}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("who gave up: got %v", err)
			}
		})
		wg.Go(func() {
			if _, _, err := r.Verify(t.Context(), token, []string{ES256}); err != nil {
				t.Errorf("who stayed: %v", err)
			}
		})
		wg.Wait()
		if idp.count() != 1 {
			t.Errorf("fetches: %d", idp.count())
		}
	})
}

func TestRemoteFollowsNoRedirectOffItsOrigin(t *testing.T) {
	key := newEC(t)
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(document(t, key.Public())) }))
	defer stranger.Close()
	target := stranger.URL
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_, _ = w.Write(document(t, key.Public()))
			return
		}
		http.Redirect(w, r, target, http.StatusFound)
	}))
	defer idp.Close()
	verify := func() error {
		r := NewRemote(RemoteOptions{Locate: func(context.Context) (string, error) { return idp.URL + "/jwks", nil }})
		_, _, err := r.Verify(t.Context(), sign(t, key, key.ID(), ES256, claims), []string{ES256})
		return err
	}
	if err := verify(); !errors.Is(err, ErrRedirect) || strings.Contains(err.Error(), stranger.URL) {
		t.Errorf("off origin: got %v, want ErrRedirect", err)
	}
	target = "/keys"
	if err := verify(); err != nil {
		t.Errorf("on the same origin: %v", err)
	}
	target = "/jwks"
	if err := verify(); !errors.Is(err, ErrRedirect) {
		t.Errorf("a loop: got %v, want ErrRedirect", err)
	}
}

func TestRemoteSurvivesADefect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newEC(t)
		idp := &issuer{body: document(t, key.Public())}
		broken := true
		r := remoteOf(idp, func(o *RemoteOptions) {
			o.Locate = func(context.Context) (string, error) {
				if broken {
					panic("hush")
				}
				return "https://idp.example/jwks", nil
			}
		})
		token := sign(t, key, key.ID(), ES256, claims)
		if _, _, err := r.Verify(t.Context(), token, []string{ES256}); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "hush") {
			t.Errorf("with a defect: %v", err)
		}
		broken = false
		time.Sleep(time.Minute)
		if _, _, err := r.Verify(t.Context(), token, []string{ES256}); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}

package demo

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	loadRate    = 200              // requests a second
	loadWorkers = 16               // that wait for an answer at once
	loadFor     = 15 * time.Minute // then it stops by itself: somebody forgot it
)

// Load is a signed-in user who reads notes as fast as a few hundred would, through
// the gateway's public side. It is safe for concurrent use.
type Load struct {
	base string // the gateway's

	mu   sync.Mutex
	stop context.CancelFunc // nil: it does not run
	run  int                // which one that is
}

// NewLoad makes a load that is not running.
func NewLoad(p Ports) *Load {
	return &Load{base: "http://" + net.JoinHostPort("localhost", strconv.Itoa(p.Gateway))}
}

// Start signs in and begins; nothing if it runs already. An error says why nobody
// could sign in.
func (l *Load) Start() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		return nil
	}
	ctx, stop := context.WithTimeout(context.Background(), loadFor)
	user, err := l.signIn(ctx)
	if err != nil {
		stop()
		return fmt.Errorf("the load could not sign in: %w", err)
	}
	l.run++
	run := l.run
	l.stop = stop
	go func() {
		user.read(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.run == run && l.stop != nil {
			l.stop()
			l.stop = nil
		}
	}()
	return nil
}

// Stop ends it; requests under way are given up.
func (l *Load) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
		l.stop = nil
	}
}

// Running reports whether it runs.
func (l *Load) Running() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stop != nil
}

// reader is one user's browser.
type reader struct {
	base   string
	client *http.Client
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]+)"`)
	formField  = regexp.MustCompile(`name="tx" value="([^"]+)"`)
)

// signIn does on the demo provider's page what a person does.
func (l *Load) signIn(ctx context.Context) (*reader, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	user := &reader{l.base, &http.Client{
		Jar: jar, Timeout: 10 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: loadWorkers, IdleConnTimeout: time.Minute},
	}}
	page, at, err := user.do(ctx, http.MethodGet, l.base+"/auth/login?return_to=/", nil)
	if err != nil {
		return nil, err
	}
	action, tx := formAction.FindStringSubmatch(page), formField.FindStringSubmatch(page)
	if action == nil || tx == nil {
		return nil, errors.New("expected the provider's page with a form, found another")
	}
	to, err := at.Parse(html.UnescapeString(action[1]))
	if err != nil {
		return nil, err
	}
	form := url.Values{"tx": {html.UnescapeString(tx[1])}, "username": {"grace"}, "password": {"demo"}}
	if _, at, err = user.do(ctx, http.MethodPost, to.String(), form); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(at.String(), l.base) {
		return nil, errors.New("the provider did not take the password of the demo's user")
	}
	return user, nil
}

func (u *reader) do(ctx context.Context, method, address string, form url.Values) (page string, at *url.URL, err error) {
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", nil, err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := u.client.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s%s: status %d", answer.Request.URL.Host, answer.Request.URL.Path, answer.StatusCode)
	}
	return string(body), answer.Request.URL, err
}

// read reads until ctx ends. What is too slow for the rate is left out, not queued:
// a person looks at this, and a queue would hide what they look for.
func (u *reader) read(ctx context.Context) {
	defer u.client.CloseIdleConnections()
	due := make(chan struct{})
	var workers sync.WaitGroup
	for range loadWorkers {
		workers.Go(func() {
			for range due {
				_, _, _ = u.do(ctx, http.MethodGet, u.base+"/api/notes", nil) // the gateway counts what comes of it
			}
		})
	}
	defer workers.Wait()
	defer close(due)
	tick := time.NewTicker(time.Second / loadRate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case due <- struct{}{}:
		default:
		}
	}
}

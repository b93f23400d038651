package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyway/internal/bearer"
	"keyway/internal/gateway"
	"keyway/internal/limit"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// limited gives the world rates.
func limited(rates map[limit.Kind]limit.Rate) option {
	return func(w *world) {
		w.options = append(w.options, func(o *gateway.Options) { o.Limiter = limit.New(limit.Rates{Of: rates}, nil) })
	}
}

func perHour(n int) limit.Rate { return limit.Rate{Count: n, Per: time.Hour} }

// from sends a request, with headers in pairs, and returns status, Retry-After and
// body.
func (w *world) from(method, path string, headers ...string) (status int, retry int, body string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, nil)
	must(w.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	must(w.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(w.t, err)
	retry, _ = strconv.Atoi(res.Header.Get("Retry-After"))
	return res.StatusCode, retry, string(text)
}

// A flood of sign-ins ends at the limit, says when to come back, and keeps nobody
// else out.
func TestAFloodOfSignIns(t *testing.T) {
	threat.Covers(t, 12)
	w := start(t, limited(map[limit.Kind]limit.Rate{limit.SignIn: perHour(5), limit.Callback: perHour(3)}), func(w *world) {
		w.settings.TrustedProxies = gateway.TrustedProxies{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for i := range 20 {
		status, retry, body := w.from("GET", "/auth/login", "X-Forwarded-For", "192.0.2.1")
		if i < 5 && status != http.StatusSeeOther {
			t.Fatalf("sign-in %d: %d %s", i, status, body)
		}
		if i >= 5 && (status != http.StatusTooManyRequests || retry < 700 || retry > 720 || !strings.Contains(body, `"too_many_requests"`)) {
			t.Fatalf("sign-in %d: %d, retry after %d s, %s", i, status, retry, body)
		}
	}
	if status, _, _ := w.from("GET", "/auth/login", "X-Forwarded-For", "192.0.2.2"); status != http.StatusSeeOther {
		t.Errorf("somebody else: %d", status)
	}
	for i := range 10 {
		status, _, _ := w.from("GET", "/auth/callback?state=x&code=y", "X-Forwarded-For", "192.0.2.3")
		if (status == http.StatusTooManyRequests) != (i >= 3) {
			t.Errorf("callback %d: %d", i, status)
		}
	}
	if n := strings.Count(w.log.String(), "requests are refused because too many come"); n != 2 {
		t.Errorf("%d lines about it, want one for each kind", n)
	}
	if strings.Contains(w.log.String(), "192.0.2.") {
		t.Error("the log names an address")
	}
}

// Who forgot to say that a proxy is his is told so.
func TestAnUntrustedProxyIsToldOf(t *testing.T) {
	w := start(t, limited(map[limit.Kind]limit.Rate{limit.SignIn: perHour(1)}))
	for i := range 3 {
		w.from("GET", "/auth/login", "X-Forwarded-For", fmt.Sprint("192.0.2.", i))
	}
	if log := w.log.String(); !strings.Contains(log, "add it to BFF_TRUSTED_PROXIES") || !strings.Contains(log, `"peer":"127.0.0.1"`) {
		t.Errorf("the log says no cure:\n%s", log)
	}
}

// presentedTokens are accepted if they begin with good, which a provider is asked about,
// or with proved, which its keys say.
type presentedTokens struct{ asked int }

func (b *presentedTokens) Authenticate(_ context.Context, authorization []string, need bearer.Need) (principal.Principal, secret.Value, error) {
	proved := len(authorization) == 1 && strings.HasPrefix(authorization[0], "Bearer proved")
	if !proved && !need.NotAsked {
		b.asked++
	}
	if proved || !need.NotAsked && len(authorization) == 1 && strings.HasPrefix(authorization[0], "Bearer good") {
		return principal.Principal{Provider: "p", Subject: strings.TrimPrefix(authorization[0], "Bearer ")}, secret.NewValue([]byte("good")), nil
	}
	return principal.Principal{}, secret.Value{}, problem.New(problem.InvalidToken, errors.New("refused"))
}

func (b *presentedTokens) Issuers(bearer.Need) []string { return nil }

// bearers serves with presentedTokens. It is called when the world has started.
func (w *world) bearers() *presentedTokens {
	b := &presentedTokens{}
	g := *w.current.Load()
	parts := g.Parts
	parts.Bearer = b
	w.current.Store(gateway.NewGeneration(parts))
	return b
}

// About tokens of whoever guesses nobody is asked any more; who shares his address and
// has a token that was good, or one that keys prove, goes on.
func TestGuessedTokensAreNotLookedAtForEver(t *testing.T) {
	threat.Covers(t, 12)
	w := start(t, limited(map[limit.Kind]limit.Rate{limit.RefusedToken: perHour(10)}))
	b := w.bearers()
	const path = "/m2m/notes"
	if status, _, body := w.from("GET", path, "Authorization", "Bearer good1"); status != 200 {
		t.Fatal(status, body)
	}
	b.asked = 0
	for i := range 50 {
		status, retry, _ := w.from("GET", path, "Authorization", fmt.Sprint("Bearer guess", i))
		if i < 10 && status != 401 || i >= 10 && (status != 429 || retry < 300 || retry > 360) {
			t.Fatalf("guess %d: %d, retry after %d s", i, status, retry)
		}
	}
	if b.asked != 10 {
		t.Errorf("a provider was asked about %d guesses, of 10", b.asked)
	}
	if status, _, _ := w.from("GET", path, "Authorization", "Bearer good1"); status != 200 {
		t.Errorf("the neighbour with a good token: %d", status)
	}
	if status, _, _ := w.from("GET", path, "Authorization", "Bearer good2"); status != 429 {
		t.Errorf("a token that nobody has seen: %d", status)
	}
	for range 3 {
		if status, _, _ := w.from("GET", path, "Authorization", "Bearer proved"); status != 200 {
			t.Errorf("a neighbour's new token that keys prove: %d", status)
		}
	}
}

func withRoute(r route.Route) option { return func(w *world) { w.routes = append(w.routes, r) } }

func TestARouteHasARateOfItsOwn(t *testing.T) {
	public := route.Route{ID: "few", Path: "/few", Service: "api", Auth: route.AuthNone, TokenPolicy: route.TokenPolicy{Mode: route.TokenNone},
		Limits: route.Limits{Rate: perHour(2)}}
	machine := route.Route{ID: "few-m2m", Path: "/few-m2m", Service: "api", Auth: route.AuthBearer, Limits: route.Limits{Rate: perHour(2)}}
	user := route.Route{ID: "few-mine", Path: "/few-mine", Service: "api", Auth: route.AuthSession, Limits: route.Limits{Rate: perHour(2)}}
	w := start(t, withRoute(public), withRoute(machine), withRoute(user))
	w.bearers()
	statuses := func(path string, headers ...string) (all []int) {
		for range 3 {
			status, _, _ := w.from("GET", path, headers...)
			all = append(all, status)
		}
		return all
	}
	for name, got := range map[string][]int{
		"by address":   statuses("/few"),
		"by account":   statuses("/few-m2m", "Authorization", "Bearer good1"),
		"of another":   statuses("/few-m2m", "Authorization", "Bearer good2"),
		"without rate": append(statuses("/public/x")[:2], 429),
	} {
		if fmt.Sprint(got) != "[200 200 429]" {
			t.Errorf("%s: %v", name, got)
		}
	}
	if log := w.log.String(); !strings.Contains(log, `"route":"few`) || !strings.Contains(log, "the route's limits.rate, 2/1h") {
		t.Errorf("the log does not say of which route, or what its rate is:\n%s", log)
	}
	if got := statuses("/few-mine"); fmt.Sprint(got) != "[401 401 401]" {
		t.Errorf("who is not signed in is counted by nobody: %v", got)
	}
	// A generation later it has counted what it had, and a new rate counts at once.
	w.publish(one("v1"))
	if status, retry, _ := w.from("GET", "/few"); status != 429 || retry < 1700 || retry > 1800 {
		t.Errorf("after a new generation: %d, retry after %d s", status, retry)
	}
	w.routes[len(w.routes)-3].Limits.Rate = perHour(7200)
	w.publish(one("v1"))
	if status, retry, _ := w.from("GET", "/few"); status != 429 || retry != 1 {
		t.Errorf("with a new rate: %d, retry after %d s", status, retry)
	}
}

func TestARouteServesSoManyAtOnce(t *testing.T) {
	inside, release := make(chan struct{}, 10), make(chan struct{})
	w := start(t, withRoute(route.Route{ID: "two", Path: "/two", Service: "api", Auth: route.AuthNone, TokenPolicy: route.TokenPolicy{Mode: route.TokenNone},
		Limits: route.Limits{ConcurrentRequests: 2}}))
	w.answer = func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/two" {
			inside <- struct{}{}
			<-release
		}
	}
	done := make(chan int, 2)
	for range 2 {
		go func() {
			res, err := http.Get(w.server.URL + "/two")
			if err != nil {
				done <- 0
				return
			}
			res.Body.Close()
			done <- res.StatusCode
		}()
	}
	<-inside
	<-inside
	if status, retry, body := w.from("GET", "/two"); status != 503 || retry == 0 || !strings.Contains(body, `"overloaded"`) {
		t.Errorf("the third: %d, retry after %d s, %s", status, retry, body)
	}
	if status, _, _ := w.from("GET", "/public/x"); status != 200 {
		t.Errorf("another route: %d", status)
	}
	close(release)
	for range 2 {
		if status := <-done; status != 200 {
			t.Errorf("one of two: %d", status)
		}
	}
	if status, _, _ := w.from("GET", "/two"); status != 200 {
		t.Errorf("when they are over: %d", status)
	}
}

func TestTheSmallerBodyLimitCounts(t *testing.T) {
	threat.Covers(t, 71)
	for _, c := range []struct{ settings, route, sent, want int }{
		{0, 0, 5000, 200}, {1000, 0, 1000, 200}, {1000, 0, 1001, 413}, {0, 1000, 1001, 413}, {1000, 2000, 1001, 413}, {2000, 1000, 1001, 413}, {2000, 1000, 1000, 200},
	} {
		w := start(t, withRoute(route.Route{ID: "put", Path: "/put", Service: "api", Auth: route.AuthNone, TokenPolicy: route.TokenPolicy{Mode: route.TokenNone},
			Limits: route.Limits{BodyBytes: int64(c.route)}}), func(w *world) { w.settings.BodyBytes = int64(c.settings) })
		for name, body := range map[string]io.Reader{
			"announced":     strings.NewReader(strings.Repeat("x", c.sent)),
			"not announced": io.MultiReader(strings.NewReader(strings.Repeat("x", c.sent))),
		} {
			r, err := http.NewRequestWithContext(t.Context(), "POST", w.server.URL+"/put", body)
			must(t, err)
			res, err := http.DefaultTransport.RoundTrip(r)
			must(t, err)
			res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("settings %d, route %d, %d bytes %s: %d, want %d", c.settings, c.route, c.sent, name, res.StatusCode, c.want)
			}
		}
	}
}

// Where accounts are counted, the log does not blame an address.
func TestAnAccountBeyondItsRateIsNoAddress(t *testing.T) {
	machine := route.Route{ID: "few-m2m", Path: "/few-m2m", Service: "api", Auth: route.AuthBearer, Limits: route.Limits{Rate: perHour(1)}}
	w := start(t, withRoute(machine))
	w.bearers()
	for range 2 {
		w.from("GET", "/few-m2m", "Authorization", "Bearer good1", "X-Forwarded-For", "192.0.2.1")
	}
	log := w.log.String()
	if !strings.Contains(log, "one account sends too many to a route") || !strings.Contains(log, `"route":"few-m2m"`) {
		t.Errorf("the log does not say who sends too many, and where:\n%s", log)
	}
	if strings.Contains(log, "one address") {
		t.Errorf("the log blames an address:\n%s", log)
	}
}

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/leakhunt"
	"keyway/internal/threat"
)

const oddRoutes = `
services:
  raw: {base_url: "http://RAW", timeout: 5s}
routes:
  - {id: pub, path: "/pub/*", target_service: raw, upstream_path: "/U-pub/{path}", auth: none, token_policy: {mode: none}}
  - {id: ses, path: "/ses/*", target_service: raw, upstream_path: "/U-ses/{path}", auth: session}
  - {id: bea, path: "/bea/*", target_service: raw, upstream_path: "/U-bea/{path}", auth: bearer}
  - {id: par, path: "/par/{a}/x/{b}", target_service: raw, upstream_path: "/U-par/{b}/y/{a}", auth: none, token_policy: {mode: none}}
  - {id: keep, path: "/keep/{id}", target_service: raw, auth: none, token_policy: {mode: none}}
`

// oddWorld is a gateway in front of an upstream that sees bytes, and what signs in
// at each door.
type oddWorld struct {
	t       *testing.T
	host    string
	raw     *rawUpstream
	signs   map[string][]string // by door
	cookie  string
	sent    int
	arrived int
	refused int
	cut     int // connections that ended without an answer
}

// The same request as we decide about it, and as the upstream sees it.
func TestOddForms(t *testing.T) {
	threat.Covers(t, 34, 35, 38, 39, 41)
	t.Parallel()
	d := deploy(t, "client_secret_basic", "", idp.Options{})
	w := &oddWorld{t: t, raw: startRawUpstream(t), host: "127.0.0.1:" + d.Env["PORT"]}
	write(t, filepath.Join(d.Env["BFF_CONFIG_DIR"], "routes.yaml"), strings.ReplaceAll(oddRoutes, "RAW", w.raw.Addr))
	gateway := d.serve(t, Env{"LOG_LEVEL": "info"})
	b := d.enter(t, gateway)
	w.cookie = b.Jar.Get("__Host-bff_session").Value
	w.signs = map[string][]string{
		"ses": {"Cookie: __Host-bff_session=" + w.cookie, "X-CSRF-Token: " + b.CSRF(t), "Origin: " + d.Front.URL},
		"bea": {"Authorization: Bearer " + machineToken(t, d)},
	}
	forms := makeForms(20260102)
	for _, f := range forms {
		w.try(f, true)
	}
	for i, f := range forms {
		// Nobody is signed in: none of it may arrive.
		if door := doorOf(f.target); i%4 == 0 && (door == "ses" || door == "bea") {
			w.try(f, false)
		}
	}
	if seen, odd := w.raw.take(); len(seen)+len(odd) > 0 {
		t.Errorf("after all, the upstream saw %d requests more, and %q", len(seen), odd)
	}
	t.Logf("%d odd forms: %d arrived, %d were refused, %d of them by closing", w.sent, w.arrived, w.refused, w.cut)
	if w.sent < 2000 || w.arrived < w.sent/4 || w.refused < w.sent/4 || w.cut > w.sent/20 {
		t.Errorf("%d sent, %d arrived, %d refused, %d cut: these show little", w.sent, w.arrived, w.refused, w.cut)
	}
}

// machineToken is one for the bearer route.
func machineToken(t testing.TB, d *deployment) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", d.Demo.URL+"/token",
		strings.NewReader(url.Values{"grant_type": {"client_credentials"}, "audience": {audience}, "scope": {"notes:read"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(clientID, url.QueryEscape(d.Env["AUTH_CLIENT_SECRET"]))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("token endpoint: %s, %v", resp.Status, err)
	}
	leakhunt.Secret(t, "access token", answer.Token)
	return answer.Token
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// doorOf is the first segment of a target, decoded.
func doorOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if plain, err := url.PathUnescape(first); err == nil {
		return plain
	}
	return ""
}

// expected is what the upstream is to see of a target: what matched, byte for byte,
// below the route's own path. False: nothing.
func expected(target string) (string, bool) {
	path, query, _ := strings.Cut(target, "?")
	if query != "" {
		query = "?" + query
	}
	if !strings.HasPrefix(path, "/") {
		return "", false
	}
	segments := strings.Split(path[1:], "/")
	switch door := doorOf(target); door {
	case "pub", "ses", "bea":
		return "/U-" + door + "/" + strings.Join(segments[1:], "/") + query, true
	case "par":
		if len(segments) != 4 {
			return "", false
		}
		if x, err := url.PathUnescape(segments[2]); err != nil || x != "x" {
			return "", false
		}
		return "/U-par/" + segments[3] + "/y/" + segments[1] + query, true
	case "keep":
		return path + query, len(segments) == 2
	}
	return "", false
}

// twofold says what of a target two servers may read differently; "" if nothing.
// It knows nothing of how the gateway finds that out.
func twofold(target string) string {
	path, query, _ := strings.Cut(target, "?")
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return "a byte that is to be encoded"
		}
	}
	for round := range 3 {
		segments := strings.Split(path, "/")
		for i, s := range segments {
			switch {
			case s == "." || s == "..":
				return "a dot segment"
			case s == "" && i > 0 && i < len(segments)-1:
				return "an empty segment"
			case strings.ContainsAny(s, "\\;"):
				return "a backslash or semicolon"
			}
		}
		plain, err := url.PathUnescape(path)
		if err != nil {
			if round == 0 {
				return "a bad escape"
			}
			break
		}
		if strings.Count(plain, "/") != strings.Count(path, "/") {
			return "an encoded slash"
		}
		if strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "a control character"
		}
		path = plain
	}
	if _, err := url.ParseQuery(query); err != nil {
		return "a query that is read in several ways"
	}
	if strings.Count(query, "&") >= 1000 {
		return "too many parameters"
	}
	return ""
}

// try sends a form, and right behind it a request of the plainest kind, which is to
// be answered as such or not at all.
func (w *oddWorld) try(f oddForm, signedIn bool) {
	t := w.t
	w.sent++
	marker := fmt.Sprintf("/pub/marker-%d?n=%d", w.sent, w.sent)
	head := f.raw
	if head == "" {
		lines := []string{"Host: " + w.host}
		if f.noHost {
			lines = nil
		}
		if signedIn {
			lines = append(lines, w.signs[doorOf(f.target)]...)
		}
		head = f.method + " " + f.target + " " + f.version + "\r\n" + strings.Join(append(lines, f.lines...), "\r\n") + "\r\n\r\n"
	}
	answers, err := exchangeRaw(w.host, f.method, head+f.body, "GET "+marker+" HTTP/1.1\r\nHost: x\r\n\r\n")
	seen, odd := w.raw.take()
	status := 0
	if len(answers) > 0 {
		status = answers[0]
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s (signed in: %v; %s %s; %q): "+format, append([]any{f.about, signedIn, short(f.method), short(f.target), shortAll(f.lines)}, args...)...)
	}
	if len(odd) > 0 {
		fail("the upstream saw what is no request: %q", odd)
	}
	var its []bytesSeen
	markers := 0
	for _, s := range seen {
		if s.Target == "/U-pub/marker-"+strings.TrimPrefix(marker, "/pub/marker-") {
			markers++
		} else {
			its = append(its, s)
		}
	}
	switch {
	case len(answers) == 0 && len(its) == 0:
		w.cut++
	case len(answers) == 0:
		fail("arrived, and was not answered: %v", err)
		return
	case status >= 500 && status != 501 && status != 505:
		fail("status %d", status)
	}
	if len(answers) > 1 && (answers[1] != 200 || markers != 1) || len(answers) < 2 && markers > 0 || len(answers) > 2 {
		fail("the request behind it was confused: answers %v, it arrived %d times", answers, markers)
	}
	if len(its) == 0 {
		w.refused++
		if signedIn && f.benign {
			fail("status %d: it is to arrive", status)
		}
		if d := doorOf(f.target); status != 0 && status < 400 && (d == "pub" || d == "ses" || d == "bea" || d == "par" || d == "keep") && f.method != "OPTIONS" {
			fail("status %d, and nothing arrived", status)
		}
		return
	}
	w.arrived++
	if len(its) > 1 {
		fail("%d requests arrived, the second for %s", len(its), its[1].Target)
		return
	}
	if f.refused {
		fail("it arrived for %s", short(its[0].Target))
	}
	if why := twofold(f.target); why != "" {
		fail("it arrived as %s, with %s", short(its[0].Target), why)
	}
	if door := doorOf(f.target); !signedIn && (door == "ses" || door == "bea") {
		fail("it arrived though nobody is signed in")
	}
	for _, problem := range w.compare(f, its[0]) {
		fail("%s", problem)
	}
}

// passes are fields that are the client's to say.
var passes = []string{"accept", "range", "if-none-match", "content-type", "referer", "dnt", "pragma", "cache-control", "priority"}

// compare says in what the request that arrived differs from the one that was sent.
func (w *oddWorld) compare(f oddForm, got bytesSeen) (problems []string) {
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if want, ok := expected(f.target); !ok || strings.TrimSuffix(got.Target, "?") != strings.TrimSuffix(want, "?") {
		say("it arrived as %q, want %q (%v)", got.Target, want, ok)
	}
	if f.raw == "" && got.Method != f.method {
		say("it arrived by the method %q", got.Method)
	}
	if got.Body != f.content {
		say("its body arrived as %q, want %q", short(got.Body), short(f.content))
	}
	all := strings.Join(got.Lines, "\n")
	if strings.Contains(all, "mallory") || strings.Contains(all, w.cookie) {
		say("the upstream saw a cookie or an identity that it must not")
	}
	identity, authorization := 0, 0
	switch doorOf(f.target) {
	case "ses":
		identity, authorization = 1, 1
		if v := got.values("X-User-ID"); len(v) != 1 || v[0] != "u-ada-1815" {
			say("X-User-ID arrived as %q", v)
		}
	case "bea":
		identity, authorization = 1, 1
	}
	for name, n := range map[string]int{"X-User-ID": identity, "Authorization": authorization, "X-Correlation-ID": 1, "X-Forwarded-For": 1, "Host": 1,
		"Upgrade": 0, "Keep-Alive": 0, "Proxy-Connection": 0, "Forwarded": 0} {
		if v := got.values(name); len(v) != n {
			say("%d fields %s arrived, want %d", len(v), name, n)
		}
	}
	listed := ""
	want := map[string][]string{}
	for _, line := range f.lines {
		name, value, _ := strings.Cut(line, ":")
		lower := strings.ToLower(name)
		switch {
		case lower == "connection":
			listed += "," + strings.ToLower(value)
		case (strings.HasPrefix(lower, "x-odd") || strings.HasPrefix(lower, "x_odd") || strings.HasPrefix(lower, "x.odd") || strings.HasPrefix(lower, "odd") || slices.Contains(passes, lower)) &&
			!strings.Contains(value, "mallory"):
			want[lower] = append(want[lower], strings.Trim(value, " \t"))
		}
	}
	for name, values := range want {
		if slices.ContainsFunc(strings.Split(listed, ","), func(s string) bool { return strings.Trim(s, " \t") == name }) {
			if v := got.values(name); len(v) > 0 {
				say("%s is of this connection only, and arrived", name)
			}
			continue
		}
		if v := got.values(name); !slices.Equal(v, values) {
			say("%s arrived as %q, want %q", name, shortAll(v), shortAll(values))
		}
	}
	return problems
}

func shortAll(all []string) []string {
	var out []string
	for _, s := range all {
		out = append(out, s[:min(len(s), 60)])
	}
	return out[:min(len(out), 8)]
}

// exchangeRaw sends one request and, in the same bytes, the next. It answers with
// the status of each final answer until the connection ends, or two are there.
func exchangeRaw(host, method, first, second string) (answers []int, err error) {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(8 * time.Second))
	written := make(chan error, 1)
	go func() { // a refusal may come while the rest is still on its way
		_, err := io.WriteString(conn, first+second)
		written <- err
	}()
	defer func() { conn.Close(); <-written }()
	in := bufio.NewReader(conn)
	for len(answers) < 2 {
		asked := method
		if len(answers) == 1 {
			asked = "GET"
		}
		resp, err := http.ReadResponse(in, &http.Request{Method: asked})
		if err != nil {
			return answers, err
		}
		if resp.StatusCode < 200 {
			continue
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		answers = append(answers, resp.StatusCode)
		if err != nil {
			return answers, err
		}
		if resp.Close {
			break
		}
	}
	if len(answers) < 2 { // the connection is over
		if _, err := in.Peek(1); err == nil {
			return append(answers, -1), errors.New("more follows a connection's last answer")
		}
	}
	return answers, nil
}

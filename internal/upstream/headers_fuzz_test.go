package upstream

import (
	"bufio"
	"bytes"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/principal"
	"keyway/internal/threat"
)

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// slowly is forwardable as it reads in the documentation, of one rule after the other,
// each looking at the whole.
func slowly(client http.Header) http.Header {
	h := client.Clone()
	if h == nil {
		h = http.Header{}
	}
	for _, list := range client["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(strings.Trim(name, " \t"))
		}
	}
	for name := range h {
		if reservedSlowly(name) {
			delete(h, name)
		}
	}
	delete(h, "Te")
	for _, list := range client["Te"] {
		for item := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.Trim(item, " \t"), "trailers") {
				h["Te"] = []string{"trailers"}
			}
		}
	}
	cookies := slices.DeleteFunc(h["Cookie"], func(v string) bool { return stripCookies(v) == "" })
	for i := range cookies {
		cookies[i] = stripCookies(cookies[i])
	}
	if delete(h, "Cookie"); len(cookies) > 0 {
		h["Cookie"] = cookies
	}
	return h
}

func reservedSlowly(name string) bool {
	folded := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if slices.Contains(slices.Collect(maps.Keys(reservedNames.whole)), folded) {
		return true
	}
	return slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(folded, p) })
}

// ours are the names whose values the gateway decides, as CGI (RFC 3875 section 4.1.18)
// and its descendants read them.
var ours = map[string]string{
	"X_USER_ID": "ada", "X_USER_EMAIL": "ada@example.org", "X_USER_NAME": "Ada", "X_SESSION_ID": "s-1", "X_AUTH_TIME": "5",
	"X_ORIGINAL_USER": "auth:account:demo:ada", "X_CORRELATION_ID": "c-1", "AUTHORIZATION": "Bearer token-of-ada",
	"X_FORWARDED_FOR": "192.0.2.7", "X_FORWARDED_HOST": "app.example", "X_FORWARDED_PROTO": "https",
	"TRACEPARENT": "00-1", "TRACESTATE": "a=1",
}

// FuzzForwardable: whatever a client's header is, an upstream that reads names as laxly
// as CGI does finds each of ours once, with our value; and what passes of the rest is
// what passes by the rules taken one by one.
func FuzzForwardable(f *testing.F) {
	for _, head := range []string{
		forged, "Connection: x-user-id, authorization,cookie , \t x-correlation-id\r\nCookie: bff_session=1; a=b\r\n", "Te: deflate, TRAILERS\r\nTrailer: X-User-Id\r\nExpect: 100-continue\r\n",
		"Cookie: a=b\r\nCookie: __Host-bff_session=1\r\ncookie: c=d; bff_csrf=2\r\n", "X-: 1\r\n-X: 1\r\n_: 1\r\nX--: 1\r\n~: 1\r\nX: 1\r\n!!!: 1\r\n",
		"X-User: 1\r\nX-User-: 1\r\nX_Users: 1\r\nXUser-Id: 1\r\n__X__User__Id__: 1\r\n" + strings.Repeat("_", 60) + "X-User-Id: 1\r\nX" + strings.Repeat("-", 60) + "User-Id: 1\r\n",
		"X-Original-" + strings.Repeat("a", 100) + ": 1\r\n" + strings.Repeat("a", 47) + "-X-User-Id: 1\r\n" + strings.Repeat("a", 48) + "-b: 1\r\nx.original!user: 1\r\n",
		"Connection: close\r\nConnection: Upgrade, upgrade\r\nUpgrade: websocket\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n",
		"Authorization: Bearer eve\r\nAUTHORIZATION: Bearer eve\r\nauthorization_: 1\r\nTraceParent: 1\r\nBaggage: 1\r\nUser-Agent: x\r\nContent_Length: 5\r\nHost_: x\r\n",
	} {
		f.Add([]byte(head))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		threat.Covers(t, 34, 35, 50)
		raw := "GET /x HTTP/1.1\r\nHost: app.example\r\n" + string(head) + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		before := r.Header.Clone()
		got := forwardable(r.Header)
		if want := slowly(r.Header); !reflect.DeepEqual(got, want) {
			t.Fatalf("of %q passes %q, want %q", r.Header, got, want)
		}
		inject(got, &Request{
			Principal:     &principal.Principal{Provider: "demo", Subject: "ada", Email: "ada@example.org", Name: "Ada", SessionID: "s-1", AuthTime: time.Unix(5, 0)},
			CorrelationID: "c-1", TraceParent: "00-1", TraceState: "a=1", ClientIP: netip.MustParseAddr("192.0.2.7"), Host: "app.example", Scheme: "https",
		}, "Bearer token-of-ada")
		if !reflect.DeepEqual(r.Header, before) {
			t.Fatalf("the client's header was %q, and is %q", before, r.Header)
		}
		var sent bytes.Buffer
		if err := got.Write(&sent); err != nil {
			t.Fatal(err)
		}
		read := map[string][]string{}
		for line := range strings.SplitSeq(strings.TrimSuffix(sent.String(), "\r\n"), "\r\n") {
			name, value, ok := strings.Cut(line, ": ")
			if !ok {
				t.Fatalf("a line %q goes out", line)
			}
			name = notInNames.ReplaceAllString(strings.ToLower(name), "_")
			name = strings.ToUpper(strings.Trim(name, "_"))
			read[name] = append(read[name], value)
		}
		for name, value := range ours {
			if !slices.Equal(read[name], []string{value}) {
				t.Errorf("%q: an upstream reads %s as %q", head, name, read[name])
			}
		}
		for _, name := range []string{"CONNECTION", "UPGRADE", "KEEP_ALIVE", "TRAILER", "TRANSFER_ENCODING", "CONTENT_LENGTH", "FORWARDED", "X_REAL_IP", "REMOTE_USER", "PROXY_AUTHORIZATION"} {
			if len(read[name]) > 0 {
				t.Errorf("%q: an upstream reads %s as %q", head, name, read[name])
			}
		}
	})
}

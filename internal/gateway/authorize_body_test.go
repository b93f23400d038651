package gateway_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/threat"
)

// The body that decides is the body that is forwarded, byte for byte; and one that
// two readers could take for different things decides nothing.
func TestTheBodyThatDecidesIsForwardedAsItCame(t *testing.T) {
	const json = "application/json"
	const body = "{ \"id\" : \"7\",\n\t\"owner\":\"ada\", \"n\":1.0 }\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, body)
	must(t, z.Close())
	chunked := func(chunks ...string) string {
		var b strings.Builder
		for _, c := range chunks {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
		}
		return b.String() + "0\r\n"
	}
	utf16 := "\xff\xfe{\x00}\x00"
	head := "POST /api/items HTTP/1.1\r\n{auth}Content-Type: application/json\r\n"
	for name, c := range map[string]struct {
		request, more string
		want          int
		forwarded     string
	}{
		"with its length":       {posted("POST", "/api/items", json, body), "", 200, body},
		"with a charset":        {posted("POST", "/api/items", json+"; charset=UTF-8", body), "", 200, body},
		"another kind of JSON":  {posted("POST", "/api/items", "application/merge-patch+json", body), "", 200, body},
		"in chunks":             {head + "Transfer-Encoding: chunked\r\n\r\n" + chunked(body[:3], body[3:]) + "\r\n", "", 200, body},
		"with trailers":         {head + "Transfer-Encoding: chunked\r\nTrailer: X-User-ID\r\n\r\n" + chunked(body) + "X-User-ID: eve\r\n\r\n", "", 200, body},
		"when it is asked for":  {head + fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body)), body, 200, body},
		"a GET's":               {posted("GET", "/api/items", json, body), "", 200, body},
		"without a body":        {head + "Content-Length: 0\r\n\r\n", "", 403, ""},
		"no bytes in chunks":    {head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", 403, ""},
		"too large":             {posted("POST", "/api/items", json, `{"id":"7","x":"`+strings.Repeat("x", 2000)+`"}`), "", 413, ""},
		"too large, not sent":   {head + "Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n", "", 413, ""},
		"too large, in chunks":  {head + "Transfer-Encoding: chunked\r\n\r\n" + chunked(`{"id":"7","x":"`, strings.Repeat("x", 2000), `"}`) + "\r\n", "", 413, ""},
		"just not too large":    {posted("POST", "/api/items", json, `{"id":"7","x":"`+strings.Repeat("x", 1024-17)+`"}`), "", 200, `{"id":"7","x":"` + strings.Repeat("x", 1024-17) + `"}`},
		"a member twice":        {posted("POST", "/api/items", json, `{"id":"7","id":"8"}`), "", 403, ""},
		"a member twice, below": {posted("POST", "/api/items", json, `{"id":"7","o":{"a":1,"\u0061":2}}`), "", 403, ""},
		"two documents":         {posted("POST", "/api/items", json, `{"id":"7"}{"id":"8"}`), "", 403, ""},
		"out of its wrapping":   {posted("POST", "/api/items", json, `{"id":"7"},"w":{"id":"8"}`), "", 403, ""},
		"a byte order mark":     {posted("POST", "/api/items", json, "\ufeff"+body), "", 403, ""},
		"UTF-16":                {posted("POST", "/api/items", json, utf16), "", 403, ""},
		"a charset of its own":  {posted("POST", "/api/items", json+"; charset=utf-7", body), "", 403, ""},
		"as text":               {posted("POST", "/api/items", "text/plain", body), "", 403, ""},
		"as a form":             {posted("POST", "/api/items", "application/x-www-form-urlencoded", body), "", 403, ""},
		"as parts":              {posted("POST", "/api/items", "multipart/form-data; boundary=x", body), "", 403, ""},
		"of two types":          {posted("POST", "/api/items", json, body, "Content-Type: text/plain"), "", 403, ""},
		"of one type, twice":    {posted("POST", "/api/items", json, body, "Content-Type: application/json"), "", 403, ""},
		"of a type in two ways": {posted("POST", "/api/items", json, body, "Content_Type: application/x-www-form-urlencoded"), "", 403, ""},
		"of two types in one":   {posted("POST", "/api/items", "application/json, text/plain", body), "", 403, ""},
		"packed":                {posted("POST", "/api/items", json, packed.String(), "Content-Encoding: gzip"), "", 403, ""},
		"whose type is for us":  {posted("POST", "/api/items", json, body, "Connection: keep-alive, content-type, Content-Length, content-encoding"), "", 200, body},
		"said to be packed":     {posted("POST", "/api/items", json, body, "Content-Encoding: identity, gzip"), "", 403, ""},
		"an id of another type": {posted("POST", "/api/items", json, `{"id":["7"]}`), "", 403, ""},
		"no one in particular":  {posted("POST", "/api/items", json, `{"id":"*"}`), "", 403, ""},
		"an id that is denied":  {posted("POST", "/api/items", json, `{"id":"8"}`), "", 403, ""},
		"deep":                  {posted("POST", "/api/items", json, `{"id":"7","x":`+strings.Repeat("[", 400)+strings.Repeat("]", 400)+`}`), "", 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 39)
			p := &point{}
			p.saysYes(func(q authz.Question) bool { return q.Resource.ID == "7" || q.Action.Name == "list" })
			got := make(chan string, 1)
			w := start(t, decidedBy(p), func(w *world) { w.onBody = func(b string) { got <- b } })
			u := w.user().signIn()
			answer := u.raw(t, c.request, c.more)
			if answer.status != c.want {
				t.Fatalf("got %d %s", answer.status, answer.body)
			}
			if c.want != 200 {
				if w.lastSeen() != nil {
					t.Error("it was forwarded")
				}
				return
			}
			if body := <-got; body != c.forwarded {
				t.Errorf("forwarded %q", body)
			}
			seen := w.lastSeen()
			if seen.Header.Get("Content-Type") == "" {
				t.Error("the upstream does not learn what it was taken for")
			}
			if strings.Contains(c.request, "Content-Length") && seen.ContentLength != int64(len(c.forwarded)) {
				t.Errorf("forwarded with length %d", seen.ContentLength)
			}
			if seen.Header.Get("X-User-Id") == "eve" || seen.Trailer.Get("X-User-Id") != "" {
				t.Error("a trailer was forwarded")
			}
		})
	}
}

// A body that does not come holds up nobody else, and not for ever; and who goes away
// leaves nothing.
func TestABodyThatDoesNotComeIsNotWaitedForForEver(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	request := "POST /api/items HTTP/1.1\r\nHost: x\r\nCookie: bff_session=" + u.cookie("bff_session") + "\r\nX-CSRF-Token: " + u.csrf() +
		"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"id\":"
	slow, err := net.Dial("tcp", w.server.Listener.Addr().String())
	must(t, err)
	defer slow.Close()
	_, err = io.WriteString(slow, request)
	must(t, err)
	gone, err := net.Dial("tcp", w.server.Listener.Addr().String())
	must(t, err)
	_, err = io.WriteString(gone, request)
	must(t, err)
	gone.Close()
	if got := u.do("GET", "/api/items"); got.status != 200 {
		t.Errorf("somebody else: %d", got.status)
	}
	must(t, slow.SetReadDeadline(time.Now().Add(20*time.Second)))
	began := time.Now()
	answer, err := io.ReadAll(slow)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
		t.Errorf("after %v: %q, %v", time.Since(began), answer, err)
	}
}

// A decision that takes longer than the body took: the client is still listened to.
func TestWhoReadsAheadHearsTheClientGoAway(t *testing.T) {
	asked, left := make(chan struct{}), make(chan struct{})
	p := &point{answer: func(ctx context.Context, _ authz.Question) (authz.Decision, error) {
		close(asked)
		<-left
		return authz.Decision{Allow: true}, nil
	}}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	must(t, err)
	_, err = io.WriteString(conn, "POST /api/items HTTP/1.1\r\nHost: x\r\nCookie: bff_session="+u.cookie("bff_session")+"\r\nX-CSRF-Token: "+u.csrf()+
		"\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"7\"}")
	must(t, err)
	<-asked
	conn.Close()
	deadline := time.Now().Add(5 * time.Second)
	for !strings.Contains(w.log.String(), `"status":499`) {
		if time.Now().After(deadline) {
			t.Fatal("nobody noticed that the client went away")
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(left)
	if w.lastSeen() != nil {
		t.Error("it was forwarded")
	}
}

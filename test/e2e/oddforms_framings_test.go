package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// makeFramings makes odd heads and bodies.
func makeFramings(r *rand.Rand) []oddForm {
	var all []oddForm
	add := func(f oddForm) {
		if f.method == "" {
			f.method = "GET"
		}
		if f.version == "" {
			f.version = "HTTP/1.1"
		}
		if f.target == "" {
			f.target = "/" + doors[r.IntN(len(doors))] + "/framing"
		}
		all = append(all, f)
	}
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		add(oddForm{about: "method " + m, method: m, benign: true})
	}
	for _, m := range []string{"get", "Get", "GETT", "TRACE", "TRACK", "CONNECT", "PROPFIND", "DEBUG", "PURGE", "PRI", "G,T", "GET\t", "G T", "<GET>", "GÉT", strings.Repeat("M", 5000), "M-SEARCH", "$", "%47ET"} {
		add(oddForm{about: "method " + short(m), method: m, refused: true})
	}
	for _, v := range []string{"HTTP/1.0"} {
		add(oddForm{about: "version " + v, version: v})
		add(oddForm{about: "version " + v + " kept alive", version: v, lines: []string{"Connection: keep-alive"}})
		add(oddForm{about: "version " + v + " with a body", version: v, method: "POST", lines: []string{"Content-Length: 2"}, body: "hi", content: "hi"})
		add(oddForm{about: "version " + v + " in chunks", version: v, method: "POST", lines: []string{"Transfer-Encoding: chunked"}, body: "2\r\nhi\r\n0\r\n\r\n", refused: true})
		add(oddForm{about: "version " + v + " without Host", version: v, noHost: true})
	}
	for _, v := range []string{"HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/1.11", "http/1.1", "HTTP/1", "HTTP/1.1 ", "HTTP/01.1", "HTTP/1.1\t", "HTTP /1.1", "HTTPS/1.1", "HTTP/-1.1"} {
		add(oddForm{about: "version " + short(v), version: v, refused: true})
	}
	// Names that are the gateway's to say, in many spellings, sent with a value that no
	// upstream may see. That the test spells them by itself is the point.
	reserved := []string{"X-User-ID", "X-User-Email", "X-User-Name", "X-Session-ID", "X-Auth-Time", "X-Original-User", "X-Correlation-ID", "Authorization", "X-Forwarded-For",
		"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Remote-User", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "Proxy-Authorization", "Traceparent", "X-CSRF-Token"}
	spell := []func(string) string{
		func(s string) string { return s }, strings.ToLower, strings.ToUpper,
		func(s string) string { return strings.ReplaceAll(s, "-", "_") },
		func(s string) string { return strings.ReplaceAll(s, "-", ".") },
		func(s string) string { return strings.ReplaceAll(s, "-", "--") },
		func(s string) string { return s + "-" }, func(s string) string { return "_" + s },
		func(s string) string { return strings.Replace(s, "-", "_", 1) },
		func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "!") },
		// Longer than what anybody would keep of a name.
		func(s string) string { return strings.ReplaceAll(s, "-", strings.Repeat("_", 70)) },
		func(s string) string { return strings.Repeat("~", 70) + s }, func(s string) string { return s + strings.Repeat("_", 70) },
	}
	for _, name := range reserved {
		for i, as := range spell {
			if i == 0 && (name == "Authorization" || name == "X-CSRF-Token") {
				continue // it would be what signs in
			}
			line := as(name) + ": mallory"
			if r.IntN(3) == 0 {
				line = as(name) + ":\tmallory, mallory  "
			}
			lines := []string{line}
			if r.IntN(3) == 0 {
				lines = append(lines, "X-Between: v", line)
			}
			add(oddForm{about: "reserved " + as(name), lines: lines})
		}
		add(oddForm{about: "trailer " + name, method: "POST", lines: []string{"Transfer-Encoding: chunked", "Trailer: " + name},
			body: "2\r\nhi\r\n0\r\n" + name + ": mallory\r\n\r\n", content: "hi"})
		add(oddForm{about: "Connection lists " + name, lines: []string{"Connection: " + strings.ToLower(name)}, target: "/ses/framing"})
		add(oddForm{about: "two Connections list " + name, lines: []string{"Connection: keep-alive ,,\t" + strings.ToUpper(name) + " , te", name + "_: mallory", "connection:" + name}, target: "/ses/framing"})
	}
	// Whole families are ours, however long a name in them is.
	for _, family := range []string{"X-User-", "X-Session-", "X-Auth-", "X-Original-", "X-Forwarded-", "X-Remote-", "X-Authenticated-", "X-Amzn-Oidc-", "X-MS-Client-", "Impersonate-", "Cf-Access-", "OIDC_CLAIM_"} {
		for _, rest := range []string{"X", "Principal", strings.Repeat("x", 70), strings.Repeat("_x", 40)} {
			add(oddForm{about: "family " + family + short(rest), lines: []string{family + rest + ": mallory", strings.ReplaceAll(family, "-", "_") + rest + ": mallory"}})
		}
	}
	for i, lines := range [][]string{
		{"X-Odd:"}, {"X-Odd: "}, {"X-Odd:v"}, {"X-Odd:   v   "}, {"X-Odd: \t v\t"}, {"x-oDD: v"}, {"X-Odd: a", "X-Odd: b", "x-odd: c"}, {"X-Odd: a,b", "X-Odd: c"}, {"X-Odd: \"q,\\\"q\""},
		{"X-Odd: " + strings.Repeat("v", 20_000)}, {"X_Odd: v"}, {"X.Odd: v"}, {"X-Odd: v", "X_Odd: w"}, {"Accept: */*", "accept: text/html"}, {"Range: bytes=0-1"}, {"If-None-Match: \"x\""},
		{"Cookie: a=b"}, {"Cookie: a=b", "Cookie: c=d"}, {"Cookie: a=b; __Host-bff_session=mallory-mallory"}, {"Cookie: bff_session=mallory"}, {"Cookie: __Host-bff_session=mallory; a=b"},
		{"Accept-Encoding: gzip;q=0"}, {"User-Agent:"}, {"User-Agent: odd/1.0 (x; y)"}, {"Referer: http://x/?a=b"}, {"Content-Type: text/plain"}, {"X-Odd: caf\xe9"}, {"X-Odd: café"},
		{"X-Odd: %0d%0aX-User-ID: v"}, {"Via: 1.1 x"}, {"Max-Forwards: 0"}, {"Cache-Control: no-cache"}, {"Pragma: no-cache"}, {"Priority: u=1"}, {"Date: x"}, {"DNT: 1"},
	} {
		add(oddForm{about: fmt.Sprintf("lines %d %s", i, short(lines[0])), lines: lines})
	}
	many := make([]string, 60)
	for i := range many {
		many[i] = "X-Odd-" + strconv.Itoa(i%20) + ": " + strconv.Itoa(i)
	}
	add(oddForm{about: "sixty lines", lines: many, benign: true})
	for _, c := range []string{"close", "keep-alive", "Close, keep-alive", "x-odd", "X-Odd, close", "X-ODD,,, ", ", ,", "upgrade", "te", "transfer-encoding", "content-length", "host", "cookie", "x-user-id", "\"x-odd\"", "x odd"} {
		add(oddForm{about: "Connection: " + c, lines: []string{"Connection: " + c, "X-Odd: v"}})
		add(oddForm{about: "Connection: " + c + " with a body", method: "POST", lines: []string{"Connection: " + c, "Content-Length: 2"}, body: "hi", content: "hi"})
	}
	for _, l := range []string{"TE: trailers", "TE: gzip", "Keep-Alive: timeout=5", "Upgrade: h2c", "Upgrade: websocket", "Proxy-Connection: keep-alive", "Transfer-Encoding:", "Content-Length: 0", "Trailer: X-Odd"} {
		add(oddForm{about: l, lines: []string{l}})
	}
	// Bodies, well framed.
	for _, size := range []int{0, 1, 2, 100, 4096, 70_000} {
		content := strings.Repeat("b", size)
		add(oddForm{about: fmt.Sprintf("body of %d", size), method: "POST", lines: []string{fmt.Sprintf("Content-Length: %d", size)}, body: content, content: content, benign: true})
		for _, step := range []int{1, 7, 4000} {
			if size/step > 500 {
				continue
			}
			add(oddForm{about: fmt.Sprintf("%d in chunks of %d", size, step), method: "PUT", lines: []string{"transfer-ENCODING: Chunked"}, body: chunks(content, step, ""), content: content, benign: true})
		}
	}
	for _, ext := range []string{";a=b", ";a", "; a=\"b;c\"", " ;x", ";" + strings.Repeat("x", 200)} {
		add(oddForm{about: "chunk extension " + short(ext), method: "POST", lines: []string{"Transfer-Encoding: chunked"}, body: chunks("hello", 2, ext), content: "hello"})
	}
	const inside = "GET /pub/smuggled HTTP/1.1\r\nHost: x\r\n\r\n" // a request within a body
	add(oddForm{about: "a request as body", method: "POST", lines: []string{fmt.Sprintf("Content-Length: %d", len(inside))}, body: inside, content: inside, benign: true})
	add(oddForm{about: "a request in a chunk", method: "POST", lines: []string{"Transfer-Encoding: chunked"}, body: chunks(inside, 10, ""), content: inside, benign: true})
	add(oddForm{about: "a request as body of GET", lines: []string{fmt.Sprintf("Content-Length: %d", len(inside))}, body: inside, content: inside})
	for _, e := range []string{"100-continue", "100-Continue", "200-ok", ""} {
		add(oddForm{about: "Expect: " + e, method: "POST", lines: []string{"Expect: " + e, "Content-Length: 2"}, body: "hi", content: "hi"})
	}
	// Framing that two programs could read differently.
	smuggling := map[string][]string{
		"CL and TE":      {"Content-Length: 4", "Transfer-Encoding: chunked"},
		"TE and CL":      {"Transfer-Encoding: chunked", "Content-Length: 4"},
		"two CL":         {"Content-Length: 0", "Content-Length: " + strconv.Itoa(len(inside))},
		"CL list":        {"Content-Length: 0, 0"},
		"CL plus":        {"Content-Length: +0"},
		"CL hex":         {"Content-Length: 0x0"},
		"CL minus":       {"Content-Length: -1"},
		"CL space":       {"Content-Length : 0"},
		"TE space":       {"Transfer-Encoding : chunked"},
		"TE twice":       {"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"},
		"TE list":        {"Transfer-Encoding: chunked, chunked"},
		"TE identity":    {"Transfer-Encoding: identity"},
		"TE gzip":        {"Transfer-Encoding: gzip, chunked"},
		"TE xchunked":    {"Transfer-Encoding: xchunked"},
		"TE vtab":        {"Transfer-Encoding: \x0bchunked"},
		"TE quoted":      {"Transfer-Encoding: \"chunked\""},
		"folded TE":      {"Transfer-Encoding:", " chunked"},
		"folded":         {"X-Odd: a", " b"},
		"name first":     {" X-Odd: a"},
		"no colon":       {"X-Odd"},
		"no name":        {": v"},
		"two Hosts":      {"Host: evil.example"},
		"bare CR":        {"X-Odd: a\rX-User-ID: mallory"},
		"bare LF":        {"X-Odd: a\nX-User-ID: mallory"},
		"bare LF and TE": {"X-Odd: a\nTransfer-Encoding: chunked"},
		"NUL":            {"X-Odd: a\x00b"},
		"chunked, CR":    {"Transfer-Encoding: chunked\r"},
	}
	for _, name := range sortedKeys(smuggling) {
		for _, method := range []string{"GET", "POST"} {
			add(oddForm{about: "smuggling: " + name + ", " + method, method: method, lines: smuggling[name], body: "0\r\n\r\n" + inside, refused: true})
		}
	}
	for name, body := range map[string]string{
		"bare LF in a chunk line": "1\na\r\n0\r\n\r\n", "bare LF after a chunk": "1\r\na\n0\r\n\r\n", "negative chunk": "-1\r\n\r\n", "huge chunk": "FFFFFFFFFFFFFFFFF\r\na\r\n0\r\n\r\n",
		"chunk with 0x": "0x1\r\na\r\n0\r\n\r\n", "long chunk": "1\r\nab\r\n0\r\n\r\n", "no chunk size": "\r\na\r\n0\r\n\r\n", "CL among trailers": "0\r\nContent-Length: 9\r\n\r\n", "bare CR in an extension": "1;a\rb\r\na\r\n0\r\n\r\n",
	} {
		add(oddForm{about: "smuggling: " + name, method: "POST", lines: []string{"Transfer-Encoding: chunked"}, body: body + inside, refused: true})
	}
	for _, target := range []string{"http://169.254.169.254/latest", "http://127.0.0.1/pub/x", "https://x/pub/x", "ftp://x/y", "x:443", "http://x@y/pub/x", "//evil.example/pub/x", "http:///pub/x", "file:///etc/passwd", "javascript:1"} {
		add(oddForm{about: "absolute form " + target, target: target, refused: true})
	}
	add(oddForm{about: "an empty line in front", raw: "\r\nGET /pub/framing HTTP/1.1\r\nHost: x\r\n\r\n", target: "/pub/framing"})
	add(oddForm{about: "no method", raw: " /pub/framing HTTP/1.1\r\nHost: x\r\n\r\n", target: "/pub/framing", refused: true})
	add(oddForm{about: "no version", raw: "GET /pub/framing\r\nHost: x\r\n\r\n", target: "/pub/framing", refused: true})
	add(oddForm{about: "no Host", noHost: true, refused: true})
	return all
}

func chunks(content string, size int, ext string) string {
	var b strings.Builder
	for len(content) > 0 {
		n := min(size, len(content))
		fmt.Fprintf(&b, "%x%s\r\n%s\r\n", n, ext, content[:n])
		content = content[n:]
	}
	return b.String() + "0\r\n\r\n"
}

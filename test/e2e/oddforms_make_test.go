package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// oddForm is a request in an odd form, as bytes. What it says and what is expected
// of it are told apart, so that the test does not decide by the gateway's own rules.
type oddForm struct {
	about   string
	method  string
	target  string
	version string   // HTTP/1.1 unless set
	lines   []string // of the head, after Host and what signs in
	body    string   // as sent, with its framing
	content string   // what the body is, out of its framing
	refused bool     // an upstream must not see it, whatever else
	benign  bool     // it must arrive
	raw     string   // the whole head, where lines do not do; body follows
	noHost  bool
}

// The doors to the upstream: which one a request came through is seen by the prefix.
// {door} of the templates is replaced by these.
var doors = []string{"pub", "ses", "bea"}

// makeForms makes all forms, in the same order each time.
func makeForms(seed uint64) []oddForm {
	r := rand.New(rand.NewPCG(seed, seed+1))
	door := func() string { return doors[r.IntN(len(doors))] }
	var all []oddForm
	add := func(f oddForm) {
		if f.method == "" {
			f.method = "GET"
		}
		if f.version == "" {
			f.version = "HTTP/1.1"
		}
		all = append(all, f)
	}
	// Each byte in each place, as it is and percent-encoded.
	for c := range 256 {
		b := string([]byte{byte(c)})
		plain := c > 0x20 && c < 0x7f && !strings.ContainsRune(`"#%/;<>?\^{|}`+"`", rune(c))
		encoded := !strings.ContainsRune("/\\;", rune(c)) && c >= 0x20 && c < 0x7f
		add(oddForm{about: fmt.Sprintf("byte %02x in the path", c), target: "/" + door() + "/a" + b + "z", benign: plain,
			refused: c < 0x20 || c >= 0x7f || c == '\\' || c == ';' || c == '#' || c == ' '})
		add(oddForm{about: fmt.Sprintf("%%%02X in the path", c), target: fmt.Sprintf("/%s/a%%%02Xz", door(), c), benign: encoded && c != '%', refused: !encoded})
		add(oddForm{about: fmt.Sprintf("%%%02x in the path, segment of its own", c), target: fmt.Sprintf("/%s/%%%02x/z", door(), c),
			refused: !encoded || c == '.'})
		add(oddForm{about: fmt.Sprintf("byte %02x in the query", c), target: "/" + door() + "/a?q=a" + b + "z", benign: plain,
			refused: c < 0x20 || c >= 0x7f || c == ';' || c == '#' || c == ' '})
		add(oddForm{about: fmt.Sprintf("%%%02X in the query", c), target: fmt.Sprintf("/%s/a?q=a%%%02Xz", door(), c), benign: c >= 0x20 && c < 0x7f, refused: c == 0})
		add(oddForm{about: fmt.Sprintf("byte %02x in a value", c), target: "/" + door() + "/v", lines: []string{"X-Odd: a" + b + "z"},
			benign: c >= 0x20 && c < 0x7f || c == '\t', refused: c < 0x20 && c != '\t' || c == 0x7f})
		token := c > 0x20 && c < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, rune(c))
		add(oddForm{about: fmt.Sprintf("byte %02x in a name", c), target: "/" + door() + "/n", lines: []string{"Odd" + b + "Name: v"},
			benign: token, refused: !token && c != ':'})
	}
	// Paths and queries put together at random.
	segments := []string{
		"a", "B", "..", ".", "", "...", "..a", "a..", "%2e", "%2E%2e", ".%2e", "%2f", "%5c", "%252f", "%25", "%2", "%", "%zz", "a;b", ";", "%3b", "a=b", "a,b", "~", "a:b",
		"@", "!$&'()*+", "[x]", "%C3%A9", "%c3%a9", "%C3", "%c0%af", "%e2%80%ae", "%00", "%20", "+", "é", "\\", "*", "{path}", "%7Bpath%7D", "pub", "ses", "auth", "api",
		strings.Repeat("x", 300), "%u002e", "%EF%BC%8F", "．．", "a%0d%0ab", "con", "a%3fb", "a%23b", "%26", "-_.~",
	}
	queries := []string{
		"", "a=b", "a=b&a=c", "&&&", "=", "=b", "a", "a=&b=", "a+b=c+d", "a=%2B", "a;b", "a=b;c=d", "a=%", "a=%4", "a=%zz", "a=%00", "a=%0d%0aX-User-ID:%20mallory", "?", "a?b=c?d",
		"a[]=1&a[]=2", "a[b]=c", "%61=b", "a==b", "a=b#c", "a=/../", "a=//x", "a=é", "a={b}", "a=b|c", "a=`", "a=\\", "a='\"", "a=<b>", "%20=%20", "token=x",
		strings.Repeat("a=b&", 499) + "a=b", strings.Repeat("&", 999), strings.Repeat("a&", 1000) + "a", "a=" + strings.Repeat("x", 8000), "utf8=%E2%9C%93", "a=%C0%AE",
	}
	for i := range 500 {
		var path strings.Builder
		fmt.Fprintf(&path, "/%s", door())
		for range 1 + r.IntN(4) {
			path.WriteString("/" + segments[r.IntN(len(segments))])
		}
		f := oddForm{about: fmt.Sprintf("at random, %d", i), target: path.String()}
		if r.IntN(2) == 0 {
			f.target += "?" + queries[r.IntN(len(queries))]
		}
		add(f)
	}
	for _, q := range queries {
		add(oddForm{about: "query " + short(q), target: "/" + door() + "/q?" + q, refused: strings.ContainsAny(q, ";#é") || strings.Contains(q, "%00") || strings.Count(q, "&") > 999})
		add(oddForm{about: "param, query " + short(q), target: "/par/A%41/x/b%62?" + q})
	}
	for _, s := range segments {
		add(oddForm{about: "param " + short(s), target: "/par/" + s + "/x/end"})
		add(oddForm{about: "last param " + short(s), target: "/par/first/x/" + s})
		add(oddForm{about: "kept " + short(s), target: "/keep/" + s})
		add(oddForm{about: "door " + short(s), target: "/" + s + "/pub/x"})
	}
	for _, t := range []string{"/PUB/x", "/Pub/x", "/%70ub/x", "/%50ub/x", "/pub%2fx", "/pub/../ses/x", "/pub/%2e%2e/ses/x", "/ses/..;/pub/x", "//pub/x", "/./pub/x", "/pub", "/pub/",
		"/ses%2fx", "/%73es/x", "/%2573es/x", "/pub/x/../../ses/y", "/pub//ses/x", "pub/x", "*", "", "/", "//", "/?", "?", "/pub?x", "/ses?x/../pub/y", "/pub/" + strings.Repeat("a/", 2000),
		"/pub/" + strings.Repeat("%41", 2000), "/pub/" + strings.Repeat("é", 10), "http:/pub/x", "/http://x/pub"} {
		add(oddForm{about: "target " + short(t), target: t})
	}
	return append(all, makeFramings(r)...)
}

func short(s string) string {
	if len(s) > 24 {
		return fmt.Sprintf("%.24q… (%d)", s, len(s))
	}
	return fmt.Sprintf("%q", s)
}

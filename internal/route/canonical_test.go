package route

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"keyway/internal/threat"
)

func TestAmbiguousPathsAreRefused(t *testing.T) {
	for name, path := range map[string]string{
		"dot segment":                "/api/../admin",
		"dot segment at the end":     "/api/..",
		"single dot":                 "/api/./notes",
		"encoded dots":               "/api/%2e%2e/admin",
		"encoded dots upper case":    "/api/%2E%2E/admin",
		"half-encoded dots":          "/api/.%2e/admin",
		"encoded single dot":         "/api/%2e",
		"double slash":               "/api//admin",
		"leading double slash":       "//evil.example/api",
		"double slash at the end":    "/api//",
		"encoded slash":              "/api%2fadmin",
		"encoded slash upper case":   "/api%2Fadmin",
		"backslash":                  `/api\admin`,
		"encoded backslash":          "/api%5cadmin",
		"dots and encoded backslash": "/api/..%5cadmin",
		"path parameter":             "/api;x=1/admin",
		"path parameter after dots":  "/api/..;/admin",
		"encoded path parameter":     "/api/..%3b/admin",
		"NUL":                        "/api/%00",
		"encoded newline":            "/api/x%0d%0aSet-Cookie:a",
		"encoded DEL":                "/api/%7f",
		"encoded C1 control":         "/api/%c2%85",
		"raw control":                "/api/\x01",
		"raw tab":                    "/api/\t",
		"double encoding":            "/api/%252e%252e/admin",
		"double encoding in pieces":  "/api/%25%32%66admin",
		"fragment":                   "/api/x#/admin",
		"query":                      "/api/x?y",
		"raw space":                  "/api/a b",
		"raw UTF-8":                  "/api/é",
		"overlong slash":             "/api/%c0%af",
		"lone continuation byte":     "/api/%80",
		"cut escape":                 "/api/%2",
		"bare percent":               "/api/100%",
		"not hex":                    "/api/%zz",
		"no leading slash":           "api",
		"empty":                      "",
		"absolute form":              "http://evil.example/",
		"asterisk form":              "*",
		"brace":                      "/api/{id}",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 38)
			err := Canonical(path)
			var amb *AmbiguousError
			if !errors.As(err, &amb) {
				t.Fatalf("Canonical(%q) = %v, want an AmbiguousError", path, err)
			}
			if len(path) > 4 && strings.Contains(err.Error(), path) {
				t.Errorf("the error repeats the input: %v", err)
			}
		})
	}
}

func TestPlainPathsPass(t *testing.T) {
	for _, path := range []string{
		"/", "/api", "/api/", "/api/notes/1", "/a/...", "/a/..b", "/a/.well-known",
		"/a/%7Euser", "/a/~user", "/a/caf%C3%A9", "/a/100%25", "/a/100%25zz", "/a/x%20y", "/a/C%23.pdf", "/a/why%3F",
		"/a/x:y@z", "/a/(1)!$&'*+,=", "/a/[1]", "/a/foo%2ebar",
	} {
		if err := Canonical(path); err != nil {
			t.Errorf("Canonical(%q) = %v, want nil", path, err)
		}
	}
}

func TestQueriesThatTwoReadersWouldReadDifferently(t *testing.T) {
	for name, q := range map[string]string{
		"bad escape":         "a=%zz",
		"cut escape":         "a=%2",
		"semicolon":          "a=1;b=2",
		"raw newline":        "a=1\nb",
		"NUL":                "a=%00",
		"fragment":           "a=1#b",
		"raw space":          "a=1 b",
		"raw UTF-8":          "a=é",
		"1,001 parameters":   strings.Repeat("a=1&", 1000) + "a=1",
		"10,001 parameters":  strings.Repeat("a&", 10000) + "b",
		"only ampersands":    strings.Repeat("&", 1000),
		"escape at the end":  "a=1&b=%",
		"semicolon in a key": "a;b=2",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 39)
			var amb *AmbiguousError
			if err := CheckQuery(q); !errors.As(err, &amb) {
				t.Fatalf("CheckQuery = %v, want an AmbiguousError", err)
			}
		})
	}
	for _, q := range []string{"", "a", "a=1&b=2", "a=%3b", "a=%0A", "q=x+y", "u=http://x/?y", strings.Repeat("a=1&", 999) + "a=1"} {
		if err := CheckQuery(q); err != nil {
			t.Errorf("CheckQuery(%.20q) = %v, want nil", q, err)
		}
	}
}

func TestSplitTarget(t *testing.T) {
	threat.Covers(t, 38, 39)
	p, q, err := SplitTarget("/a/b%20c?x=1&y=%3b")
	if p != "/a/b%20c" || q != "x=1&y=%3b" || err != nil {
		t.Errorf("got %q, %q, %v", p, q, err)
	}
	for _, bad := range []string{"*", "http://h/x", "h:80", "", "/a#b", "/a?b#c", "/a/..?x", "/a?x=%"} {
		if p, q, err := SplitTarget(bad); err == nil || p != "" || q != "" {
			t.Errorf("SplitTarget(%q) = %q, %q, %v, want only an error", bad, p, q, err)
		}
	}
}

// FuzzCanonical checks what is promised of a path that passes: it means one
// thing, and Go's client sends exactly it.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a%20b", "/%252e", "/..", "//", "/a;b", "/%e2%82%ac", "/[x]|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if Canonical(p) != nil {
			return
		}
		u, err := url.ParseRequestURI(p)
		if err != nil {
			t.Fatalf("accepted %q, which net/url can't read: %v", p, err)
		}
		if got := u.RequestURI(); got != p {
			t.Fatalf("accepted %q, which would be sent as %q", p, got)
		}
		dec := u.Path
		if strings.Count(dec, "/") != strings.Count(p, "/") || strings.ContainsAny(dec, "\\;") || strings.ContainsFunc(dec, unicode.IsControl) {
			t.Fatalf("%q decodes to %q", p, dec)
		}
		for i, seg := range strings.Split(dec[1:], "/") {
			if seg == "." || seg == ".." || seg == "" && i < strings.Count(dec, "/")-1 {
				t.Fatalf("%q decodes to %q", p, dec)
			}
		}
		// A server that decodes once more finds no new separator or dots.
		if again, err := url.PathUnescape(dec); err == nil && again != dec {
			t.Fatalf("%q decodes twice: %q, %q", p, dec, again)
		}
	})
}

// FuzzCheckQuery checks that a policy which parses a query that passes sees
// every parameter that an upstream could.
func FuzzCheckQuery(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "a;b", "%zz", "&&&", "a=%00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, q string) {
		if CheckQuery(q) != nil {
			return
		}
		vals, err := url.ParseQuery(q)
		if err != nil {
			t.Fatalf("accepted %q, which net/url reads with an error: %v", q, err)
		}
		n := 0
		for _, v := range vals {
			n += len(v)
		}
		want := 0
		for part := range strings.SplitSeq(q, "&") {
			if part != "" {
				want++
			}
		}
		if n != want {
			t.Fatalf("%q has %d parameters, net/url sees %d", q, want, n)
		}
		if u, err := url.ParseRequestURI("/?" + q); err != nil || u.RawQuery != q {
			t.Fatalf("%q would be forwarded as %q (%v)", q, u.RawQuery, err)
		}
	})
}

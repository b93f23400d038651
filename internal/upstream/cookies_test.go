package upstream

import (
	"net/http"
	"strings"
	"testing"

	"keyway/internal/threat"
)

func TestStripCookiesRemovesOursAndKeepsEveryOtherByte(t *testing.T) {
	threat.Covers(t, 42)
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"a=b", "a=b"},
		{`theme="dark; x";  weird==; ; =v`, `theme="dark; x";  weird==; ; =v`},
		{"bff_session=x", ""},
		{"__Host-bff_session=x; a=b", "a=b"},
		{"a=b; __Host-bff_session=x", "a=b"},
		{"a=b; bff_session=x; c=d", "a=b; c=d"},
		{"a=b;bff_session=x;c=d", "a=b;c=d"},
		{"a=b; bff_csrf=1; bff_login_abc=2; __Host-bff_login_x=3; c=d", "a=b; c=d"},
		{"bff_session=x; bff_session=y; a=b", "a=b"},
		{"BFF_Session=x; __host-BFF_SESSION=y; a=b", "a=b"},
		{"bff_session.1=x; bff_session-2=y; a=b", "a=b"},
		{"bff_session =x; a=b", "a=b"},
		{"bff_session; a=b", "a=b"},
		{"=bff_session=x; a=b", "a=b"},
		{`a="b; bff_session=x; c"`, `a="b; c"`},
		{`"bff_session"=x; a=b`, "a=b"},
		{"bff%5fsession=x; bff%5Fcsrf=y; %62ff_session=z; a=b", "a=b"},
		{"bff%255fsession=x; bff_session%3dx; a=b", "a=b"},
		{"__Secure-__Host-bff_session=x; __Host-__Secure-bff_session=x; __Host-Http-bff_session=x; a=b", "a=b"},
		{strings.Repeat("__Host-", 50) + "bff_session=x; a=b", "a=b"},
		{"bff.session=x; bff[session=x; bff session=x; ..Host-bff_session=x; bff+csrf=x; a=b", "a=b"},
		{"'bff_session'=x; \\bff_session=x; \x00bff_session=x; bff-login-1=x; a=b", "a=b"},
		{"a=100%; b%=1; %zz=2; c%2=3; bffsession=4; buff%5fsession=5", "a=100%; b%=1; %zz=2; c%2=3; bffsession=4; buff%5fsession=5"},
		{"bff_sessions=mine; bff_theme=dark; xbff_session=1", "bff_sessions=mine; bff_theme=dark; xbff_session=1"},
		{"a=bff_session; b=c", "a=bff_session; b=c"},
	} {
		if got := stripCookies(c.in); got != c.want {
			t.Errorf("stripCookies(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestOwnSetCookie(t *testing.T) {
	threat.Covers(t, 42)
	for value, want := range map[string]bool{
		"bff_session=evil":                    true,
		" __Host-bff_session=evil; Path=/":    true,
		"__Secure-bff_csrf=evil":              true,
		"=bff_session=evil":                   true,
		"bff_session; Path=/":                 true,
		"\tBFF_CSRF\t= evil":                  true,
		"bff_login_x=; Max-Age=0":             true,
		`"bff_session"=evil`:                  true,
		"__Host-__Secure-bff_session=evil":    true,
		"sid=bff_session; Domain=bff_session": false,
		"theme=dark":                          false,
		"":                                    false,
	} {
		if got := ownSetCookie(value); got != want {
			t.Errorf("ownSetCookie(%q) = %v, want %v", value, got, want)
		}
	}
}

func FuzzStripCookies(f *testing.F) {
	for _, seed := range []string{"a=b; bff_session=x; c=d", `a="; bff_session=x"`, "=bff_csrf=1;;", "bff%5fsession=1; %62ff.csrf=2", `"bff_session"=1; a`, "__Host-bff_login_x=1; __Secure-bff_session=2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := stripCookies(value)
		if again := stripCookies(got); again != got {
			t.Errorf("not at rest: %q -> %q -> %q", value, got, again)
		}
		// As Go reads it, nothing of ours is left and nothing of others is lost.
		var want []string
		for _, c := range cookiesOf(value) {
			if !ownCookie(c.Name) {
				want = append(want, c.Name+"="+c.Value)
			}
		}
		var have []string
		for _, c := range cookiesOf(got) {
			if ownCookie(c.Name) {
				t.Errorf("%q passed in %q", c.Name, got)
			}
			have = append(have, c.Name+"="+c.Value)
		}
		if strings.Join(have, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q -> %q: kept %q, want %q", value, got, have, want)
		}
	})
}

func cookiesOf(value string) []*http.Cookie {
	return (&http.Request{Header: http.Header{"Cookie": {value}}}).Cookies()
}

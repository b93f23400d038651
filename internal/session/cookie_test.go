package session

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

func cookiesOf(t testing.TB, o CookieOptions) cookies {
	t.Helper()
	c, err := newCookies(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCookieFlags(t *testing.T) {
	threat.Covers(t, 22)
	for _, tc := range []struct {
		name string
		o    CookieOptions
		want string
		attr []string
	}{
		{"host only", CookieOptions{Secure: true}, "__Host-bff_session",
			[]string{"Path=/", "HttpOnly", "Secure", "SameSite=Lax", "Max-Age=3600"}},
		{"strict", CookieOptions{Secure: true, SameSite: http.SameSiteStrictMode}, "__Host-bff_session",
			[]string{"Path=/", "HttpOnly", "Secure", "SameSite=Strict"}},
		{"with a domain", CookieOptions{Secure: true, Domain: "example.com"}, "bff_session",
			[]string{"Path=/", "Domain=example.com", "HttpOnly", "Secure", "SameSite=Lax"}},
		{"without TLS", CookieOptions{}, "bff_session", []string{"Path=/", "HttpOnly", "SameSite=Lax"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := cookiesOf(t, tc.o)
			set := c.make(strings.Repeat("v", maxVersion), [idBytes]byte{1}, time.Hour)
			if set.Name != tc.want {
				t.Errorf("name %s, want %s", set.Name, tc.want)
			}
			text := set.String()
			if len(text) > 4096 {
				t.Errorf("%d bytes, browsers keep 4096", len(text))
			}
			for _, attr := range tc.attr {
				if !strings.Contains(text, "; "+attr) {
					t.Errorf("%s lacks %s", text, attr)
				}
			}
			if tc.o.Domain == "" && strings.Contains(text, "Domain") {
				t.Errorf("%s has a Domain", text)
			}

			// What deletes it differs in nothing that tells cookies apart.
			del := c.clear()
			if del.Name != set.Name || del.Path != set.Path || del.Domain != set.Domain ||
				del.Secure != set.Secure || del.HttpOnly != set.HttpOnly || del.SameSite != set.SameSite {
				t.Errorf("deletion %s does not match %s", del, set)
			}
			if !strings.Contains(del.String(), "Max-Age=0") || del.Value != "" {
				t.Errorf("%s deletes nothing", del)
			}
		})
	}
	if _, err := newCookies(CookieOptions{SameSite: http.SameSiteNoneMode}); err == nil {
		t.Error("SameSite=None without Secure was taken")
	}
	if _, err := newCookies(CookieOptions{Secure: true, Domain: "a b; c"}); err == nil {
		t.Error("a domain that is none was taken")
	}
}

func TestCookieIsFoundAmongOthers(t *testing.T) {
	c := cookiesOf(t, CookieOptions{Secure: true})
	id := [idBytes]byte{1, 2, 3}
	value := c.make("v1", id, time.Hour).Value
	for _, headers := range [][]string{
		{"__Host-bff_session=" + value},
		{"a=b; __Host-bff_session=" + value + "; bff_session=evil"},
		{"a=b", "c=d;__Host-bff_session=" + value + " "},
		{";;; =; x; __Host-bff_session=" + value + ";"},
	} {
		version, got, ok := c.find(headers)
		if !ok || version != "v1" || got != id {
			t.Errorf("%q: %v", headers, ok)
		}
	}
}

func TestCookieTampering(t *testing.T) {
	threat.Covers(t, 25)
	c := cookiesOf(t, CookieOptions{Secure: true})
	good := c.make("v1", [idBytes]byte{1, 2, 3}, time.Hour).Value
	bad := map[string]string{
		"empty":            "",
		"no version":       good[2:],
		"empty version":    good[2:],
		"two dots":         "v1." + good,
		"quoted":           `"` + good + `"`,
		"padded":           good + "=",
		"extended":         good + "A",
		"truncated":        good[:len(good)-1],
		"other alphabet":   strings.Replace(good, "A", "+", 1),
		"spare bits set":   good[:len(good)-1] + "B",
		"version of evil":  "v/1" + good[2:],
		"version too long": strings.Repeat("v", maxVersion+1) + good[2:],
		"newline inside":   good[:10] + "\n" + good[11:],
		"space inside":     good[:10] + " " + good[11:],
		"NUL":              good + "\x00",
		"upside down":      good[3:] + ".v1",
	}
	for name, value := range bad {
		if _, _, ok := c.find([]string{c.name + "=" + value}); ok {
			t.Errorf("%s was accepted: %q", name, value)
		}
	}
	for name, header := range map[string]string{
		"sibling's cookie without the prefix": "bff_session=" + good,
		"other case":                          "__host-bff_session=" + good,
		"a name with a Unicode space":         "\u2000__Host-bff_session=" + good,
		"a nameless cookie":                   "=__Host-bff_session=" + good,
		"a name within a value":               "a=__Host-bff_session=" + good,
		"two of the name":                     "__Host-bff_session=" + good + "; __Host-bff_session=" + good,
		"two, the first broken":               "__Host-bff_session=x; __Host-bff_session=" + good,
	} {
		if _, _, ok := c.find([]string{header}); ok {
			t.Errorf("%s was accepted: %q", name, header)
		}
	}
	if _, _, ok := c.find([]string{c.name + "=" + good, c.name + "=" + good}); ok {
		t.Error("two in two header fields were accepted")
	}
}

func TestCookieBomb(t *testing.T) {
	threat.Covers(t, 26)
	c := cookiesOf(t, CookieOptions{Secure: true})
	good := c.name + "=" + c.make("v1", [idBytes]byte{1}, time.Hour).Value
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "%s.%d=x; ", c.name, i)
	}
	for name, headers := range map[string][]string{
		"10,000 cookies":       {many.String() + good},
		"10,000 header fields": append(make([]string, 10_000), strings.Split(many.String()+good, "; ")...),
		"a megabyte":           {"a=" + strings.Repeat("x", 1<<20) + "; " + good},
		"huge chunk index":     {c.name + ".4294967295=x; " + c.name + "=x"},
		"only separators":      {strings.Repeat(";", 1<<20) + good},
	} {
		if _, _, ok := c.find(headers); ok {
			t.Errorf("%s: accepted", name)
		}
		if n := testing.AllocsPerRun(10, func() { c.find(headers) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func FuzzCookie(f *testing.F) {
	c := cookiesOf(f, CookieOptions{Secure: true})
	f.Add("a=b; "+c.name+"="+c.make("v1", [idBytes]byte{7}, time.Hour).Value, "x=y")
	f.Add(c.name+"=v1.", c.name+"=")
	f.Add(";=;;", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		version, id, ok := c.find([]string{a, b})
		if !ok {
			if id != ([idBytes]byte{}) && version != "" {
				return // what is left of a refused one is the caller's to ignore
			}
			return
		}
		// What is accepted has one spelling, and is in the header once.
		value := c.make(version, id, time.Hour).Value
		if strings.Count(a, c.name+"="+value)+strings.Count(b, c.name+"="+value) < 1 {
			t.Errorf("accepted %q, which is not in %q, %q", value, a, b)
		}
		for i := range len(version) {
			if !versionByte(version[i]) {
				t.Errorf("version %q", version)
			}
		}
	})
}

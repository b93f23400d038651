package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"keyway/internal/threat"
)

var ours = Client{Scheme: "https", Host: "app.example", PublicHost: "app.example"}

func TestOriginOfStateChangingRequests(t *testing.T) {
	threat.Covers(t, 30)
	allowed := Origins{"https://partner.example"}
	for name, c := range map[string]struct {
		headers []string
		ok      bool
	}{
		"our page":                           {[]string{"Origin", "https://app.example", "Sec-Fetch-Site", "same-origin"}, true},
		"our page, no fetch metadata":        {[]string{"Origin", "https://app.example"}, true},
		"not a browser":                      {nil, true},
		"typed by the user":                  {[]string{"Sec-Fetch-Site", "none"}, true},
		"listed partner":                     {[]string{"Origin", "https://partner.example", "Sec-Fetch-Site", "cross-site"}, true},
		"http twin":                          {[]string{"Origin", "http://app.example"}, false},
		"null":                               {[]string{"Origin", "null"}, false},
		"suffix":                             {[]string{"Origin", "https://evilapp.example"}, false},
		"prefix":                             {[]string{"Origin", "https://app.example.evil.test"}, false},
		"other port":                         {[]string{"Origin", "https://app.example:8443"}, false},
		"case":                               {[]string{"Origin", "https://APP.example"}, false},
		"empty":                              {[]string{"Origin", ""}, false},
		"userinfo":                           {[]string{"Origin", "https://app.example@evil.test"}, false},
		"trailing slash":                     {[]string{"Origin", "https://app.example/"}, false},
		"sibling":                            {[]string{"Sec-Fetch-Site", "same-site"}, false},
		"cross-site without Origin":          {[]string{"Sec-Fetch-Site", "cross-site"}, false},
		"cross-site with our Origin":         {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.example"}, false},
		"two Origins":                        {[]string{"Origin", "https://app.example", "Origin", "https://partner.example"}, false},
		"listed partner's http twin":         {[]string{"Origin", "http://partner.example"}, false},
		"something that metadata never says": {[]string{"Sec-Fetch-Site", "SAME-ORIGIN"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := allowed.sameSite(request("203.0.113.9:1", c.headers...), ours)
			if (err == nil) != c.ok {
				t.Errorf("sameSite: %v, want ok %v", err, c.ok)
			}
		})
	}
	if (Origins{"null"}).allow("null") {
		t.Error(`"null" is allowed when listed`)
	}
}

func TestCORSAnswersOnlyTheList(t *testing.T) {
	threat.Covers(t, 31)
	list := Origins{"https://partner.example"}
	for origin, want := range map[string]string{
		"https://partner.example":           "https://partner.example",
		"https://partner.example.evil.test": "",
		"https://evilpartner.example":       "",
		"http://partner.example":            "",
		"null":                              "",
		"*":                                 "",
	} {
		h := http.Header{}
		list.corsHeaders(h, request("203.0.113.9:1", "Origin", origin))
		if got := h.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("Origin %s is answered with %q", origin, got)
		}
		if (h.Get("Access-Control-Allow-Credentials") == "true") != (want != "") {
			t.Errorf("Origin %s: credentials %q", origin, h.Get("Access-Control-Allow-Credentials"))
		}
		if h.Get("Vary") != "Origin" {
			t.Errorf("Origin %s: Vary is %q", origin, h.Get("Vary"))
		}
	}

	r := httptest.NewRequest("OPTIONS", "https://app.example/api/notes", nil)
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	if !isPreflight(r) {
		t.Fatal("not taken for a preflight")
	}
	w := httptest.NewRecorder()
	list.preflight(w, r, []string{"POST"}, false)
	if w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("a stranger's preflight: %d %v", w.Code, w.Header())
	}
}

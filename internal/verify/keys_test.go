package verify

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const good5min = "public, max-age=300, must-revalidate"

func document(kids ...string) string {
	var keys []string
	for _, kid := range kids {
		keys = append(keys, fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":%q,"x":"AA","y":"AA"}`, kid))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

func TestKeySetAtThePublicAddress(t *testing.T) {
	now := time.Now()
	hour := func(t time.Time) string { return t.UTC().Format("15:04:") }
	for name, c := range map[string]struct {
		header http.Header
		status int
		body   string
		past   string // what is there past the cache
		ok     bool
		words  []string
	}{
		"as it is":        {body: document("k2", "k1"), ok: true, words: []string{"2 keys", "the active one k2", "max-age 5 min"}},
		"from a cache":    {header: http.Header{"Age": {"150"}}, body: document("k2", "k1"), ok: true, words: []string{"from a cache 2 min old"}},
		"a newer one":     {body: document("k3", "k2", "k1"), words: []string{"it has k3 besides ours"}},
		"an old one":      {header: http.Header{"Age": {"600"}, "Cache-Control": {"max-age=3600"}, "Etag": {`"old"`}}, body: document("k1"), words: []string{"not the active one, k2", "serves the JWKS of " + hour(now.Add(-10*time.Minute)), "until " + hour(now.Add(50*time.Minute)), `its ETag is "old"`, "Empty that cache"}},
		"by Date":         {header: http.Header{"Date": {now.Add(-20 * time.Minute).UTC().Format(http.TimeFormat)}}, body: document("k2"), words: []string{"lacks k1", "JWKS of " + hour(now.Add(-20*time.Minute))}},
		"it does not say": {body: document("k1"), past: document("k2", "k1"), words: []string{"asked past the cache, it answers the present one"}},
		"a copy":          {body: document("other"), past: document("other"), words: []string{"a copy in a file, a route to another fleet"}},
		"private":         {body: `{"keys":[{"kty":"EC","kid":"k2","d":"AA"}]}`, words: []string{"k2.d", "--compromised"}},
		"symmetric":       {body: `{"keys":[{"kty":"oct","kid":"k2","k":"AA"}]}`, words: []string{"k2.k"}},
		"a page":          {body: "<html>welcome", words: []string{"no key set of ours"}},
		"empty":           {body: `{"keys":[]}`, words: []string{"it has no key"}},
		"404":             {status: 404, body: "gone", words: []string{"answers 404"}},
		"403":             {status: 403, words: []string{"answers 403", "keeps us out"}},
		"redirect":        {status: 302, header: http.Header{"Location": {"/login"}}, words: []string{"a redirect to", "/login", "follow no redirect"}},
		"media type":      {header: http.Header{"Content-Type": {"text/html"}}, body: document("k2", "k1"), words: []string{`"text/html"`}},
		"no caching":      {header: http.Header{"Cache-Control": {""}}, body: document("k2", "k1"), words: []string{"without Cache-Control", "strips cache headers"}},
		"no-store":        {header: http.Header{"Cache-Control": {"no-store"}}, body: document("k2", "k1"), words: []string{"forbids caching"}},
		"no max-age":      {header: http.Header{"Cache-Control": {"public"}}, body: document("k2", "k1"), words: []string{"without max-age"}},
		"for a week":      {header: http.Header{"Cache-Control": {"max-age=604800"}}, body: document("k2", "k1"), words: []string{"7 days", "lengthens"}},
		"for an hour":     {header: http.Header{"Cache-Control": {"max-age=60, s-maxage=3600"}}, body: document("k2", "k1"), words: []string{"60 min", "the gateway says 5 min"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.UserAgent(), "Mozilla/") {
					t.Errorf("User-Agent %q: it would count as an IdP that has fetched our keys", r.UserAgent())
				}
				h := w.Header()
				h.Set("Content-Type", "application/jwk-set+json")
				h.Set("Cache-Control", good5min)
				for name, values := range c.header {
					h[name] = values
				}
				if c.status != 0 {
					w.WriteHeader(c.status)
				}
				if c.past != "" && r.Header.Get("Cache-Control") == "no-cache" {
					_, _ = w.Write([]byte(c.past))
					return
				}
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			client := newHTTP(nil)
			defer client.CloseIdleConnections()
			f := publicKeys(t.Context(), client, server.URL, func() published {
				return published{active: "k2", live: []string{"k2", "k1"}, etag: `"new"`, maxAge: 5 * time.Minute}
			})
			says(t, f, c.ok, c.words...)
		})
	}
}

// A replica that is a moment behind is no failure.
func TestKeySetThatCatchesUp(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", good5min)
		if asked++; asked == 1 {
			_, _ = w.Write([]byte(document("k1")))
			return
		}
		_, _ = w.Write([]byte(document("k2", "k1")))
	}))
	defer server.Close()
	says(t, publicKeys(t.Context(), server.Client(), server.URL, func() published {
		return published{active: "k2", live: []string{"k2", "k1"}, maxAge: 5 * time.Minute}
	}), true)
}

func TestUnreachable(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	client := newHTTP(nil)
	_, err := fetch(t.Context(), client, http.MethodGet, server.URL)
	says(t, unreachable("it", server.URL, err), false, "self-signed", "authority that is not trusted")
	_, err = fetch(t.Context(), client, http.MethodGet, "https://"+strings.TrimPrefix(httpOnly(t), "http://"))
	says(t, unreachable("it", server.URL, err), false, "TLS")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, err = fetch(t.Context(), client, http.MethodGet, gone.URL)
	says(t, unreachable("it", gone.URL, err), false, "connection refused", "it is not up")
	_, err = fetch(t.Context(), client, http.MethodGet, "http://nobody.invalid/")
	if err == nil || !strings.Contains(err.Error(), "name") {
		t.Skipf("this machine's DNS, or a proxy, answers for nobody.invalid: %v", err)
	}
	says(t, unreachable("it", "http://nobody.invalid/", err), false, "nobody.invalid")
}

func httpOnly(t *testing.T) string {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server.URL
}

func FuzzKidsOf(f *testing.F) {
	for _, seed := range []string{document("a", "b"), `{"keys":[{"d":1}]}`, `{"keys":null}`, `{}`, `[]`, `{"keys":[null]}`, ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		kids, leaks, err := kidsOf(body)
		if err != nil && (kids != nil || leaks != nil) {
			t.Errorf("an error, and %v %v", kids, leaks)
		}
		f := published{active: "a", live: []string{"a"}}.check(body)
		if f.ok && (len(kids) != 1 || kids[0] != "a" || len(leaks) > 0) {
			t.Errorf("%q passes", body)
		}
	})
}

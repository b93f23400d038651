package api_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keyway/internal/demo/api"
	"keyway/internal/threat"
)

func TestEchoShowsWhatTheUpstreamSaw(t *testing.T) {
	h := newAPI(api.Options{})
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} {
		seen := decode[api.Seen](t, do(h, request(method, "/echo/a%2Fb//c?q=1;x&bad=%zz", "hello",
			header("X-User-ID", "ada"), func(r *http.Request) { r.Header["X-User-Name"] = []string{"Ada", "Mallory"} })))
		if seen.Method != method || seen.Path != "/echo/a%2Fb//c" || seen.Query != "q=1;x&bad=%zz" || seen.BodyBytes != 5 {
			t.Errorf("%+v", seen)
		}
		if seen.Headers["X-User-Id"] != "ada" || seen.Headers["X-User-Name"] != "Ada, Mallory" {
			t.Errorf("headers %v", seen.Headers)
		}
	}
}

func TestEchoShowsTrailers(t *testing.T) {
	srv := httptest.NewServer(newAPI(api.Options{}))
	defer srv.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/echo", io.NopCloser(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adaToken)
	r.Trailer = http.Header{"X-User-Id": {"mallory"}}
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if !bytes.Contains(body, []byte(`"trailers":{"X-User-Id":"mallory"}`)) {
		t.Errorf("%s", body)
	}
}

func TestEchoNeverShowsACredential(t *testing.T) {
	threat.Covers(t, 23)
	h := newAPI(api.Options{})
	const secret = "s3cr3t-value"
	w := do(h, request("GET", "/echo/"+adaToken+"?access_token="+adaToken, "", func(r *http.Request) {
		for name, values := range map[string][]string{
			"X-Access-Token":      {"v=" + adaToken},
			"Proxy-Authorization": {"Basic " + secret, secret},
			"X_Authorization":     {"kept, since it is another name"},
			"AUTHORIZATION":       {"Bearer " + secret},
			"Proxy_Authorization": {"Bearer " + secret},
			"Cookie":              {"bff_session=" + secret + "; theme=" + secret, secret, secret + "; " + secret + "/=1"},
			"cookie":              {"__Host-bff_session=" + secret},
		} {
			r.Header[name] = values
		}
	}))
	if strings.Contains(w.Body.String(), secret) || strings.Contains(w.Body.String(), adaToken) {
		t.Fatalf("a credential came back: %s", w.Body)
	}
	seen := decode[api.Seen](t, w)
	if got := seen.Headers["Authorization"]; got != "Bearer …" {
		t.Errorf("Authorization shown as %q", got)
	}
	if got := seen.Headers["Cookie"]; got != "bff_session=…; theme=…, …, …; …" {
		t.Errorf("Cookie shown as %q", got)
	}
}

func TestEchoReadsABoundedBody(t *testing.T) {
	h := newAPI(api.Options{})
	wantProblem(t, do(h, request("POST", "/echo", strings.Repeat("x", 1<<20+1))), 413, "too_large")
	if w := do(h, request("POST", "/echo", strings.Repeat("x", 1<<20))); w.Code != 200 {
		t.Errorf("one megabyte: %d", w.Code)
	}
}

func FuzzEchoHidesCredentials(f *testing.F) {
	f.Add("Bearer x", "a=b; c")
	f.Add("x", ";;=")
	h := newAPI(api.Options{})
	const secret = "0123456789abcdef-0123456789abcdef"
	f.Fuzz(func(t *testing.T, before, after string) {
		w := do(h, request("GET", "/echo", "", func(r *http.Request) {
			r.Header.Set("Proxy-Authorization", before+secret+after)
			r.Header.Set("Cookie", before+secret+after)
		}))
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s", w.Body)
		}
	})
}

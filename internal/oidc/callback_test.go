package oidc_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

func TestState(t *testing.T) {
	threat.Covers(t, 2)
	w := newWorld(t)
	begin := func() (*browser, string) {
		b := newBrowser()
		return b, w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	}
	other, otherQuery := begin()
	otherState := mustQuery(t, otherQuery).Get("state")
	for name, c := range map[string]func(b *browser, query string) (*browser, string){
		"missing": func(b *browser, q string) (*browser, string) { return b, change(t, q, "state") },
		"empty":   func(b *browser, q string) (*browser, string) { return b, change(t, q, "state", "") },
		"made up": func(b *browser, q string) (*browser, string) { return b, change(t, q, "state", "a.AAAA") },
		"one bit changed": func(b *browser, q string) (*browser, string) {
			return b, change(t, q, "state", flip(mustQuery(t, q).Get("state")))
		},
		"of another tab":    func(b *browser, q string) (*browser, string) { return b, change(t, q, "state", otherState) },
		"other browser's":   func(_ *browser, q string) (*browser, string) { return other, q },
		"no cookies at all": func(_ *browser, q string) (*browser, string) { return newBrowser(), q },
		"cookie of another sign-in under this name": func(b *browser, q string) (*browser, string) {
			for name := range b.ours {
				for _, value := range other.ours {
					b.ours[name] = value
				}
			}
			return b, q
		},
		"cookie changed": func(b *browser, q string) (*browser, string) {
			for name, value := range b.ours {
				b.ours[name] = flip(value)
			}
			return b, q
		},
		"state and cookie exchanged": func(b *browser, q string) (*browser, string) {
			for name, value := range b.ours {
				b.ours[name] = mustQuery(t, q).Get("state")
				q = change(t, q, "state", value)
			}
			return b, q
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, query := begin()
			before := w.calls(idp.EndpointToken)
			b, query = c(b, query)
			_, err := w.finish(t, b, query)
			wantError(t, err, oidc.ErrState)
			if problem.CodeOf(err).Status() != 400 {
				t.Errorf("code %s", problem.CodeOf(err))
			}
			if got := w.calls(idp.EndpointToken); got != before {
				t.Error("the token endpoint was called")
			}
		})
	}
	t.Run("replayed", func(t *testing.T) {
		b, query := begin()
		kept := map[string]string{}
		for name, value := range b.ours {
			kept[name] = value
		}
		if _, err := w.finish(t, b, query); err != nil {
			t.Fatal(err)
		}
		before := w.calls(idp.EndpointToken)
		_, err := w.finish(t, b, query)
		wantError(t, err, oidc.ErrState)
		b.ours = kept // who kept the cookie too
		_, err = w.finish(t, b, query)
		wantError(t, err, oidc.ErrAlreadyUsed)
		if problem.CodeOf(err).Status() != 400 || w.calls(idp.EndpointToken) != before {
			t.Errorf("code %s, %d token calls more", problem.CodeOf(err), w.calls(idp.EndpointToken)-before)
		}
	})
}

// flip changes a character in the middle, of the ciphertext.
func flip(s string) string {
	b := []byte(s)
	i := len(b) / 2
	b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
	return string(b)
}

func mustQuery(t testing.TB, raw string) url.Values {
	t.Helper()
	q, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestIssuerOfTheResponse(t *testing.T) {
	threat.Covers(t, 3)
	for name, values := range map[string][]string{
		"missing though advertised": nil,
		"empty":                     {""},
		"wrong":                     {"https://evil.example"},
		"trailing slash":            {"SLASH"},
		"case":                      {"UPPER"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i, value := range values {
				values[i] = strings.NewReplacer("SLASH", w.idp.URL+"/", "UPPER", strings.ToUpper(w.idp.URL)).Replace(value)
			}
			for _, outcome := range []string{"code", "error"} {
				b := newBrowser()
				query := change(t, w.visit(t, b, w.begin(t, b, oidc.SignInRequest{})), "iss", values...)
				if outcome == "error" { // an error of a stranger is no error of the IdP
					query = change(t, change(t, query, "code"), "error", "access_denied")
				}
				_, err := w.finish(t, b, query)
				wantError(t, err, oidc.ErrIssuer)
			}
			if w.calls(idp.EndpointToken) != 0 {
				t.Error("the token endpoint was called")
			}
		})
	}
	t.Run("missing, not advertised", func(t *testing.T) {
		w := newWorld(t, hooks(idp.Hooks{
			Discovery:     func(doc map[string]any) { delete(doc, "authorization_response_iss_parameter_supported") },
			Authorization: func(v url.Values) { v.Del("iss") },
		}))
		w.mustSignIn(t)
	})
}

func TestDuplicateParameters(t *testing.T) {
	threat.Covers(t, 4)
	w := newWorld(t)
	for _, name := range []string{"code", "state", "iss", "error", "anything"} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser()
			query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
			value := mustQuery(t, query).Get(name)
			if value == "" {
				query += "&" + name + "=x"
			}
			for _, again := range []string{name + "=" + url.QueryEscape(value), name + "=other", name, "%" + "63ode=x&c%6Fde=y"} {
				_, err := w.rp.Finish(t.Context(), oidc.CallbackRequest{Params: query + "&" + again, Cookie: b.cookie})
				wantError(t, err, oidc.ErrParameters)
				if problem.CodeOf(err).Status() != 400 {
					t.Errorf("%s: code %s", again, problem.CodeOf(err))
				}
			}
		})
	}
	for name, params := range map[string]string{
		"semicolon":  "code=a;state=b",
		"bad escape": "code=%zz",
		"too many": strings.Repeat("a=1&", 1) + func() string {
			s := ""
			for i := range 60 {
				s += "p" + string(rune('A'+i)) + "=1&"
			}
			return s
		}(),
		"too long": "code=" + strings.Repeat("a", 20<<10),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.rp.Finish(t.Context(), oidc.CallbackRequest{Params: params, Cookie: newBrowser().cookie})
			wantError(t, err, oidc.ErrParameters)
		})
	}
	if w.calls(idp.EndpointToken) != 0 {
		t.Error("the token endpoint was called")
	}
}

func TestCallbackTwiceConcurrently(t *testing.T) {
	threat.Covers(t, 11)
	w := newWorld(t)
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{ReturnTo: "/notes"}))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var done, used int
	for range 2 {
		wg.Go(func() {
			grant, err := w.rp.Finish(t.Context(), oidc.CallbackRequest{Params: query, Cookie: b.cookie})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done++
			case errors.Is(err, oidc.ErrAlreadyUsed) && grant.ReturnTo == "/notes":
				used++
			default:
				t.Errorf("got %v, return to %q", err, grant.ReturnTo)
			}
		})
	}
	wg.Wait()
	if done != 1 || used != 1 || w.calls(idp.EndpointToken) != 1 {
		t.Errorf("%d finished, %d told that it was used, %d token calls; want one each", done, used, w.calls(idp.EndpointToken))
	}
}

func TestDenied(t *testing.T) {
	w := newWorld(t)
	for code, c := range map[string]struct {
		kind error
		code problem.Code
	}{
		"access_denied":           {oidc.ErrDenied, problem.LoginDenied},
		"login_required":          {oidc.ErrRefused, problem.LoginFailed},
		"temporarily_unavailable": {oidc.ErrUnavailable, problem.IdPUnavailable},
		"x\r\nSet-Cookie: a=b":    {oidc.ErrRefused, problem.LoginFailed},
	} {
		b := newBrowser()
		query := change(t, change(t, w.visit(t, b, w.begin(t, b, oidc.SignInRequest{})), "code"), "error", code)
		_, err := w.finish(t, b, change(t, query, "error_description", strings.Repeat("\x00<script>", 100)))
		wantError(t, err, c.kind)
		if problem.CodeOf(err) != c.code || len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("%q: code %s, error of %d bytes", code, problem.CodeOf(err), len(err.Error()))
		}
	}
}

func TestStoreAwayLeavesTheSignInUsable(t *testing.T) {
	w := newWorld(t)
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	w.once.fail(errors.New("connection refused"))
	grant, err := w.finish(t, b, query)
	wantError(t, err, oidc.ErrStore)
	if problem.CodeOf(err) != problem.StoreUnavailable || grant.Cookie != "" || w.calls(idp.EndpointToken) != 0 {
		t.Errorf("code %s, cookie to clear %q, %d token calls", problem.CodeOf(err), grant.Cookie, w.calls(idp.EndpointToken))
	}
	w.once.fail(nil)
	if _, err := w.finish(t, b, query); err != nil {
		t.Errorf("tried again: %v", err)
	}
}

func TestCallbackAfterTheBrowserLeft(t *testing.T) {
	w := newWorld(t)
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.rp.Finish(ctx, oidc.CallbackRequest{Params: query, Cookie: b.cookie})
	wantError(t, err, oidc.ErrUnavailable)
}

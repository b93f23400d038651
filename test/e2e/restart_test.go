package e2e

import "testing"

// The embedded store: whoever was signed in still is, whether the gateway was
// asked to stop or was not asked at all.
func TestRestartWithEmbeddedStore(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(testing.TB, *Process)
	}{
		{"graceful", func(t testing.TB, p *Process) {
			if code := p.Terminate(t); code != 0 {
				t.Errorf("exit code %d; it said:\n%s", code, p.Output())
			}
		}},
		{"kill -9", func(_ testing.TB, p *Process) { p.Kill9() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, setup{Method: "private_key_jwt"})
			gateway := w.serve(t, nil)
			ada, gone := w.signedIn(t, gateway), w.signedIn(t, gateway)
			callAPI(t, ada)
			before, csrf := ada.Session(t)["session_id"], ada.CSRF(t)
			keys := ada.Get(t, "/.well-known/jwks.json").Text
			gone.SignOut(t)
			underWay := w.browser(gateway)
			callback := underWay.ToCallback(t, "grace", "/after")

			tc.end(t, gateway)
			w.keep(gateway.Again(t))

			if after := ada.Session(t)["session_id"]; after == nil || after != before {
				t.Errorf("session %v before, %v after", before, after)
			}
			wantStatus(t, ada.Get(t, "/api/notes"), 200)
			wantStatus(t, ada.Do(t, "POST", "/api/notes", `{"text":"x"}`, "Content-Type", "application/json", "X-CSRF-Token", csrf), 201)
			if after := ada.Get(t, "/.well-known/jwks.json").Text; after != keys {
				t.Errorf("keys before %s\nand after %s", keys, after)
			}
			if gone.SignedIn(t) {
				t.Error("who had signed out is signed in again")
			}
			a := underWay.Get(t, callback)
			if a.StatusCode != 303 || a.Header.Get("Location") != "/after" || !underWay.SignedIn(t) {
				t.Errorf("a sign-in that was under way: %s %s", a.Status, a.Text)
			}
		})
	}
}

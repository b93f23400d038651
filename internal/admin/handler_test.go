package admin

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"keyway/internal/threat"
)

func TestStatus(t *testing.T) {
	a := serve(t, false).do(t, "GET", "/admin/v1/status", "")
	a.want(t, 200, `"active":"b"`, `"next_rotation_at":null`, `"notes":[]`, `"versions":[]`, `"holds":{}`)
	if a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("nosniff is missing")
	}
	if a := serve(t, false).do(t, "HEAD", "/admin/v1/status", ""); a.StatusCode != 200 || a.text != "" {
		t.Errorf("HEAD: %d %q", a.StatusCode, a.text)
	}
}

func TestRotate(t *testing.T) {
	s := serve(t, false)
	s.do(t, "POST", "/admin/v1/rotations", `{"secrets":["session-key","client-secret"],"compromised":true}`).
		want(t, 202, `"id":"id-session-key"`, `"outcome":""`, `"steps":[]`)
	s.do(t, "POST", "/admin/v1/rotations", `{"all":true}`, "Content-Type: application/json; charset=utf-8").want(t, 202, `{"rotations":[]}`)
	asked := s.control.started()
	if len(asked) != 2 || !asked[0].Compromised || asked[0].All || len(asked[0].Secrets) != 2 || !asked[1].All {
		t.Errorf("asked: %+v", asked)
	}
	if !strings.Contains(asked[0].By, "this machine") {
		t.Errorf("by %q", asked[0].By)
	}
}

func TestPlanStartsNothing(t *testing.T) {
	s := serve(t, false)
	s.do(t, "POST", "/admin/v1/rotations", `{"all":true,"plan":true,"compromised":true}`).
		want(t, 200, `"plans":[{"secret":"session-key"`, `"steps":[]`, `"refused":"no new value is there"`)
	if asked := s.control.started(); len(asked) > 0 {
		t.Errorf("started: %+v", asked)
	}
}

func TestRollback(t *testing.T) {
	s := serve(t, true)
	token := "Authorization: Bearer " + goodToken
	s.do(t, "POST", "/admin/v1/rollbacks", `{"secret":"session-key"}`, token).want(t, 200, `"outcome":"rolled_back"`, `"asked_by":"admin API, by token, from 127.0.0.1"`)
	s.do(t, "POST", "/admin/v1/rollbacks", `{"secret":"client-secret"}`, token).
		want(t, 409, `"code":"refused"`, `"secret":"client-secret"`, `"detail":"the previous version is retired"`, `"cure":"Rotate instead."`)
	s.do(t, "POST", "/admin/v1/rollbacks", `{}`, token).want(t, 400)
}

func TestUnknownSecret(t *testing.T) {
	s := serve(t, false)
	for _, body := range []string{`{"secrets":["sesion-key"]}`, `{"secrets":["session_key"],"plan":true}`, `{"secrets":["session"]}`} {
		s.do(t, "POST", "/admin/v1/rotations", body).want(t, 404, `"code":"unknown_secret"`, "Did you mean session-key?", `"known":["session-key","client-secret"]`)
	}
	a := s.do(t, "POST", "/admin/v1/rollbacks", `{"secret":"<script>"}`)
	a.want(t, 404, `"code":"unknown_secret"`)
	if strings.Contains(a.text, "<script>") || strings.Contains(a.text, "mean") {
		t.Errorf("found %s", a.text)
	}
}

func TestAnythingElseIsUnavailable(t *testing.T) {
	s := serve(t, false)
	s.control.err = errors.New("Redis does not answer")
	for path, body := range map[string]string{
		"/admin/v1/status": "", "/admin/v1/rotations?id=x": "", "/admin/v1/rotations": `{"all":true}`, "/admin/v1/rollbacks": `{"secret":"session-key"}`,
	} {
		method, says := "GET", "Nothing was changed"
		if body != "" {
			method, says = "POST", "keyway status"
		}
		a := s.do(t, method, path, body)
		a.want(t, 503, `"code":"unavailable"`, "Redis does not answer", says)
		if a.Header.Get("Retry-After") == "" {
			t.Error("expected Retry-After")
		}
	}
}

func TestWrongPathsAndMethods(t *testing.T) {
	s := serve(t, false)
	for _, path := range []string{"/admin/v1/", "/admin/v1/statuses", "/admin/v1/status/", "/", "/status", "/admin/v1/../v1/status"} {
		s.do(t, "GET", path, "").want(t, 404, `"code":"not_found"`)
	}
	a := s.do(t, "POST", "/admin/v1/status", `{}`)
	a.want(t, 405, `"code":"method_not_allowed"`)
	if allow := a.Header.Get("Allow"); allow != "GET, HEAD" {
		t.Errorf("Allow: %q", allow)
	}
	if allow := s.do(t, "OPTIONS", "/admin/v1/rotations", "").Header.Get("Allow"); allow != "GET, HEAD, POST" {
		t.Errorf("Allow: %q", allow)
	}
}

func TestBodies(t *testing.T) {
	threat.Covers(t, 71)
	s := serve(t, false)
	for name, body := range map[string]string{
		"a misspelt member":    `{"secrets":["session-key"],"compromized":true}`,
		"another letter case":  `{"Secrets":["session-key"]}`,
		"a member twice":       `{"secrets":["session-key"],"secrets":["client-secret"]}`,
		"an escaped twin":      `{"secrets":["session-key"],"\u0061ll":false,"all":true}`,
		"both":                 `{"secrets":["session-key"],"all":true}`,
		"neither":              `{"compromised":true}`,
		"a name twice":         `{"secrets":["session-key","session-key"]}`,
		"an empty name":        `{"secrets":[""]}`,
		"a long name":          `{"secrets":["` + strings.Repeat("a", 129) + `"]}`,
		"a text for a boolean": `{"secrets":["session-key"],"plan":"false"}`,
		"a list":               `["session-key"]`,
		"two documents":        `{"all":true}{"all":true}`,
		"deep":                 `{"secrets":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
		"not UTF-8":            "{\"secrets\":[\"\xff\"]}",
		"not JSON":             `secrets=session-key`,
	} {
		t.Run(name, func(t *testing.T) {
			s.do(t, "POST", "/admin/v1/rotations", body).want(t, 400, `"code":"bad_request"`)
		})
	}
	t.Run("too large", func(t *testing.T) {
		s.do(t, "POST", "/admin/v1/rotations", `{"secrets":["`+strings.Repeat("a", maxBody)+`"]}`).want(t, 413, `"code":"too_large"`)
	})
	if asked := s.control.started(); len(asked) > 0 {
		t.Errorf("started: %+v", asked)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"secrets":["session-key"],"all":false}`))
	f.Add([]byte(`{"all":true,"all":false}`))
	f.Add([]byte(`{"\u0061ll":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var ask struct {
			Secrets []string `json:"secrets"`
			All     bool     `json:"all"`
		}
		if decode(data, &ask, []string{"secrets", "all"}) != nil {
			return
		}
		// What is taken means the same to the standard library.
		var other struct {
			Secrets []string `json:"secrets"`
			All     bool     `json:"all"`
		}
		if err := json.Unmarshal(data, &other); err != nil || other.All != ask.All || len(other.Secrets) != len(ask.Secrets) {
			t.Errorf("%q: %+v, elsewhere %+v, %v", data, ask, other, err)
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"session-key", "state-key", "signing-key", "csrf-key", "client-secret", "client-secret/partner"}
	for asked, want := range map[string]string{
		"session": "session-key", "SESSION_KEY": "session-key", "sate-key": "state-key", "singing-key": "signing-key", "crsf-key": "csrf-key",
		"client-secret/partnr": "client-secret/partner", "database": "", "": "",
	} {
		if got := (&UnknownSecretError{Name: asked, Known: known}).Nearest(); got != want {
			t.Errorf("%q: expected %q, found %q", asked, want, got)
		}
	}
}

func TestSentence(t *testing.T) {
	for _, c := range [][3]string{{"it is so", "", "it is so"}, {"it is so", "try again", "it is so; try again"}, {"it is so", "Try again.", "it is so. Try again."}} {
		if got := Sentence(c[0], c[1]); got != c[2] {
			t.Errorf("expected %q, found %q", c[2], got)
		}
	}
}

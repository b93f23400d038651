package idp_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
)

// probe asks what only an authenticated client is answered.
var probe = url.Values{"token": {"anything"}}

func TestSecretRotation(t *testing.T) {
	r := start(t, idp.Options{})
	accepted := func(secret string) bool {
		r.secret = secret
		return r.post("/introspect", probe).status == http.StatusOK
	}
	if !accepted(secret) || accepted("new") || accepted("") {
		t.Fatal("at first only the old secret is good")
	}
	if err := r.s.SetClientSecrets("web", secret, "new"); err != nil {
		t.Fatal(err)
	}
	if !accepted(secret) || !accepted("new") {
		t.Error("both are good while one replaces the other")
	}
	if err := r.s.SetClientSecrets("web", "new"); err != nil {
		t.Fatal(err)
	}
	if accepted(secret) || !accepted("new") {
		t.Error("at last only the new one is good")
	}
	if err := r.s.SetClientSecrets("web"); err != nil || accepted("new") || accepted("") {
		t.Errorf("with none, none is good (%v)", err)
	}
	if r.s.SetClientSecrets("nobody", "x") == nil {
		t.Error("unknown client: want an error")
	}
	if n := r.s.Stats().AuthFailed["web"]; n != 5 {
		t.Errorf("want 5 failures counted, found %d", n)
	}
}

func TestClientAuthRefused(t *testing.T) {
	key := newClientKey(t, jose.ES256)
	post := web()
	post.ID, post.AuthMethods = "post", []string{idp.AuthSecretPost}
	jwt := web()
	jwt.ID, jwt.Secrets, jwt.JWKS = "jwt", nil, keySet(key)
	r := start(t, idp.Options{Clients: []idp.Client{web(), post, jwt}})
	call := func(form url.Values, header ...string) answer {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.s.URL+"/introspect", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, h := range header {
			req.Header.Add("Authorization", h)
		}
		return do(t, req)
	}
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	good := basic("web:" + url.QueryEscape(secret))
	with := func(more ...string) url.Values {
		v := clone(probe)
		for i := 0; i < len(more); i += 2 {
			v.Add(more[i], more[i+1])
		}
		return v
	}
	if a := call(probe, good); a.status != http.StatusOK {
		t.Fatalf("want 200, found %d %v", a.status, a.body)
	}
	tests := map[string]struct {
		got    answer
		status int
		code   string
	}{
		"nothing":            {call(probe), 401, "invalid_client"},
		"id only":            {call(with("client_id", "web")), 401, "invalid_client"},
		"wrong secret":       {call(probe, basic("web:x")), 401, "invalid_client"},
		"unknown client":     {call(probe, basic("nobody:x")), 401, "invalid_client"},
		"not base64":         {call(probe, "Basic !!!"), 401, "invalid_client"},
		"bad encoding":       {call(probe, basic("web:%zz")), 401, "invalid_client"},
		"bearer":             {call(probe, "Bearer x"), 401, "invalid_client"},
		"two headers":        {call(probe, good, good), 400, "invalid_request"},
		"basic and post":     {call(with("client_secret", secret), good), 400, "invalid_request"},
		"basic, other id":    {call(with("client_id", "post"), good), 400, "invalid_request"},
		"two secrets":        {call(with("client_id", "web", "client_secret", "a", "client_secret", "b")), 400, "invalid_request"},
		"unregistered way":   {call(probe, basic("post:"+url.QueryEscape(secret))), 401, "invalid_client"},
		"secret of jwt":      {call(probe, basic("jwt:")), 401, "invalid_client"},
		"assertion no type":  {call(with("client_assertion", "x")), 400, "invalid_request"},
		"assertion junk":     {call(withAssertion(probe, "x.y.z")), 401, "invalid_client"},
		"assertion too long": {call(withAssertion(probe, strings.Repeat("x", 9000))), 401, "invalid_client"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wantError(t, tt.got, tt.status, tt.code)
			if tt.status == 401 && !strings.HasPrefix(tt.got.header.Get("WWW-Authenticate"), "Basic ") {
				t.Error("want a challenge (RFC 6749, 5.2)")
			}
		})
	}
	t.Run("secret in the URI", func(t *testing.T) {
		a := r.send("/introspect?client_id=web&client_secret="+url.QueryEscape(secret), probe)
		wantError(t, a, 400, "invalid_request")
	})
}

func TestAssertion(t *testing.T) {
	key, stranger := newClientKey(t, jose.ES256), newClientKey(t, jose.ES256)
	stranger.jwk.KeyID = key.jwk.KeyID
	c := web()
	c.Secrets, c.JWKS = nil, keySet(key)
	r := start(t, idp.Options{Clients: []idp.Client{c}})
	call := func(assertion string) answer { return r.send("/introspect", withAssertion(probe, assertion)) }
	now := time.Now()
	for name, tt := range map[string]struct {
		change func(m map[string]any)
		good   bool
	}{
		"as it should be":    {func(map[string]any) {}, true},
		"token endpoint aud": {func(m map[string]any) { m["aud"] = r.s.URL + "/token" }, true},
		"aud array":          {func(m map[string]any) { m["aud"] = []string{"https://x", r.s.URL} }, true},
		"no iat":             {func(m map[string]any) { delete(m, "iat") }, true},
		"other aud":          {func(m map[string]any) { m["aud"] = "https://evil.test" }, false},
		"aud with slash":     {func(m map[string]any) { m["aud"] = r.s.URL + "/" }, false},
		"PAR aud elsewhere":  {func(m map[string]any) { m["aud"] = r.s.URL + "/par" }, false},
		"no aud":             {func(m map[string]any) { delete(m, "aud") }, false},
		"no jti":             {func(m map[string]any) { delete(m, "jti") }, false},
		"no exp":             {func(m map[string]any) { delete(m, "exp") }, false},
		"exp past":           {func(m map[string]any) { m["exp"] = now.Add(-time.Second).Unix() }, false},
		"exp far":            {func(m map[string]any) { m["exp"] = now.Add(time.Hour).Unix() }, false},
		"exp absurd":         {func(m map[string]any) { m["exp"] = 1e300 }, false},
		"exp text":           {func(m map[string]any) { m["exp"] = "soon" }, false},
		"nbf ahead":          {func(m map[string]any) { m["nbf"] = now.Add(time.Minute).Unix() }, false},
		"iat ahead":          {func(m map[string]any) { m["iat"] = now.Add(time.Minute).Unix() }, false},
		"iss differs":        {func(m map[string]any) { m["iss"] = "other" }, false},
		"sub differs":        {func(m map[string]any) { m["sub"] = "other" }, false},
		"unknown client":     {func(m map[string]any) { m["iss"], m["sub"] = "other", "other" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := goodAssertion("web", r.s.URL)
			tt.change(m)
			a := call(key.sign(t, m))
			if tt.good && a.status != http.StatusOK {
				t.Errorf("want 200, found %d %v", a.status, a.body)
			}
			if !tt.good {
				wantError(t, a, 401, "invalid_client")
			}
		})
	}
	t.Run("replayed jti", func(t *testing.T) {
		m := goodAssertion("web", r.s.URL)
		if a := call(key.sign(t, m)); a.status != http.StatusOK {
			t.Fatalf("want 200, found %d", a.status)
		}
		wantError(t, call(key.sign(t, m)), 401, "invalid_client")
	})
	t.Run("other key, same kid", func(t *testing.T) {
		m := goodAssertion("web", r.s.URL)
		wantError(t, call(stranger.sign(t, m)), 401, "invalid_client")
		// What could not be verified must not use up the jti.
		if a := call(key.sign(t, m)); a.status != http.StatusOK {
			t.Errorf("want 200, found %d", a.status)
		}
	})
	t.Run("none and HS256", func(t *testing.T) {
		body, _ := json.Marshal(goodAssertion("web", r.s.URL))
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
		wantError(t, call(none), 401, "invalid_client")
		raw, _ := key.jwk.Public().MarshalJSON()
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: raw}, nil)
		if err != nil {
			t.Fatal(err)
		}
		jws, _ := s.Sign(body)
		mac, _ := jws.CompactSerialize()
		wantError(t, call(mac), 401, "invalid_client")
	})
	t.Run("pushed", func(t *testing.T) {
		v, _ := r.request(nil)
		a := r.send("/par", withAssertion(v, key.sign(t, goodAssertion("web", r.s.URL+"/par"))))
		if a.status != http.StatusCreated { // RFC 9126, 2
			t.Errorf("aud of the PAR endpoint: want 201, found %d %v", a.status, a.body)
		}
	})
}

func TestAssertionAlgorithms(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.RS256, jose.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			key := newClientKey(t, alg)
			c := web()
			c.Secrets, c.JWKS = nil, keySet(newClientKey(t, jose.ES256), key)
			r := start(t, idp.Options{Clients: []idp.Client{c}})
			r.method, r.key = idp.AuthPrivateKeyJWT, key
			if a := r.post("/introspect", probe); a.status != http.StatusOK {
				t.Errorf("want 200, found %d %v", a.status, a.body)
			}
			r.key.jwk.KeyID = "" // without a kid, any key of the kind may fit
			if a := r.post("/introspect", probe); a.status != http.StatusOK {
				t.Errorf("no kid: want 200, found %d %v", a.status, a.body)
			}
		})
	}
}

// FuzzAssertion sends anything as an assertion: it is refused, and nothing breaks.
func FuzzAssertion(f *testing.F) {
	key := newClientKey(f, jose.ES256)
	c := web()
	c.Secrets, c.JWKS = nil, keySet(key)
	p, err := idp.New(idp.Options{Issuer: "http://idp.test", Clients: []idp.Client{c}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"iss":"web","sub":"web","aud":"http://idp.test","exp":1e300,"jti":"a"}`), true)
	f.Add([]byte(`{"iss":"web","sub":"web","aud":[{}],"exp":null}`), true)
	f.Add([]byte("a.b.c"), false)
	f.Fuzz(func(t *testing.T, payload []byte, sign bool) {
		raw := string(payload)
		if sign {
			s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key.jwk}, nil)
			if err != nil {
				t.Fatal(err)
			}
			jws, err := s.Sign(payload)
			if err != nil {
				t.Skip()
			}
			raw, _ = jws.CompactSerialize()
		}
		w := direct(p, "POST", "/introspect", withAssertion(probe, raw).Encode())
		if w.Code != 401 && w.Code != 400 && !(w.Code == 200 && sign) {
			t.Errorf("found %d", w.Code)
		}
	})
}

package gateway_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/bearer"
	"keyway/internal/gateway"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/route"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

const (
	machineIssuer = "https://machines.example.com"
	machineAPI    = "https://app.example.com/m2m"
)

// machines is a world with bearer routes, for opaque tokens of one issuer and JWTs
// of another.
type machines struct {
	*world
	key *ecdsa.PrivateKey
}

func startMachines(t *testing.T, options ...option) *machines {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	keys := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	}))
	t.Cleanup(keys.Close)
	bearerRoute := func(id, path string, methods []string, need route.Need) route.Route {
		return route.Route{ID: id, Path: path, Methods: methods, Service: "api", Auth: route.AuthBearer, Bearer: need, TokenPolicy: route.TokenPolicy{Mode: route.TokenSession}}
	}
	w := start(t, append([]option{func(w *world) {
		w.routes = append(w.routes,
			bearerRoute("read", "/m2m/read", nil, route.Need{Scopes: []string{"notes:read"}}),
			bearerRoute("jwt", "/m2m/jwt", []string{"GET"}, route.Need{IdPs: []string{"jwt"}, Scopes: []string{"a", "b"}}),
			route.Route{ID: "mixed", Path: "/m2m/jwt", Methods: []string{"POST"}, Service: "api", Auth: route.AuthSession},
			bearerRoute("files", "/m2m/files/*", nil, route.Need{}),
		)
	}}, options...)...)
	salt, err := keyring.New("token-hash-salt", version("v1", keyring.Active))
	must(t, err)
	hasher, err := seal.NewHasher(salt, "introspection")
	must(t, err)
	cache := bearer.NewCache(0)
	t.Cleanup(cache.Close)
	auth, err := bearer.New(bearer.Options{Salt: hasher, Cache: cache, Entries: []bearer.Entry{
		{Name: "opaque", Provider: "opaque", Issuer: "https://opaque.example.com", Audience: []string{machineAPI},
			Introspect: func(_ context.Context, token secret.Value) ([]byte, error) {
				if string(token.Reveal()) != "good" {
					return []byte(`{"active":false}`), nil
				}
				return []byte(`{"active":true,"sub":"machine","aud":"` + machineAPI + `","scope":"notes:read"}`), nil
			}},
		{Name: "jwt", Provider: "jwt", Issuer: machineIssuer, Audience: []string{machineAPI},
			Keys: jwks.NewRemote(jwks.RemoteOptions{Client: keys.Client(), Locate: func(context.Context) (string, error) { return keys.URL, nil }})},
	}})
	must(t, err)
	parts := w.current.Load().Parts
	parts.Bearer = auth
	w.current.Store(gateway.NewGeneration(parts))
	return &machines{w, key}
}

// sign makes a JWT with the machines' issuer's key.
func (m *machines) sign(typ string, changes map[string]any) string {
	m.t.Helper()
	now := time.Now()
	claims := map[string]any{"iss": machineIssuer, "sub": "machine", "aud": machineAPI, "client_id": "machine", "scope": "a b notes:read",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text()}
	for k, v := range changes {
		if v == nil {
			delete(claims, k)
		} else {
			claims[k] = v
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: m.key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	must(m.t, err)
	payload, err := json.Marshal(claims)
	must(m.t, err)
	jws, err := signer.Sign(payload)
	must(m.t, err)
	text, err := jws.CompactSerialize()
	must(m.t, err)
	return text
}

// raw sends bytes as they are, and reads one answer.
func (m *machines) raw(t *testing.T, request string) response {
	t.Helper()
	c, err := net.Dial("tcp", m.server.Listener.Addr().String())
	must(t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() { _, _ = io.WriteString(c, request) }() // it may be answered before its end
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return response{answer.StatusCode, answer.Header, string(body)}
}

// Whatever is not one token in one well-formed header is refused, byte for byte, and
// the upstream never hears of it.
func TestPresentedBytes(t *testing.T) {
	m := startMachines(t)
	ada := m.user().signIn()
	cookie := "Cookie: bff_session=" + ada.cookie("bff_session") + "\r\n"
	get := func(target, headers string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n" + headers + "\r\n"
	}
	post := func(headers, body string) string {
		return "POST /m2m/read HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n" + headers + "\r\n" + body
	}
	const form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\n"
	for name, c := range map[string]struct {
		request string
		status  int // 0: the server closes or refuses with any 4xx
	}{
		"in the query":            {get("/m2m/read?access_token=good", ""), 401},
		"in the query too":        {get("/m2m/read?access_token=good", "Authorization: Bearer junk\r\n"), 401},
		"in a form":               {post(form, "access_token=good"), 401},
		"in a cookie":             {get("/m2m/read", "Cookie: access_token=good; Authorization=Bearer good\r\n"), 401},
		"a session, no token":     {get("/m2m/read", cookie), 401},
		"a session, a bad token":  {get("/m2m/read", cookie+"Authorization: Bearer junk\r\n"), 401},
		"two headers":             {get("/m2m/read", "Authorization: Bearer good\r\nAuthorization: Bearer good\r\n"), 400},
		"two, other spelling":     {get("/m2m/read", "authorization: Bearer good\r\nAUTHORIZATION: Basic eDp5\r\n"), 400},
		"two, the first is empty": {get("/m2m/read", "Authorization:\r\nAuthorization: Bearer good\r\n"), 400},
		"joined by a comma":       {get("/m2m/read", "Authorization: Bearer good, Bearer good\r\n"), 400},
		"joined, no space":        {get("/m2m/read", "Authorization: Bearer good,good\r\n"), 400},
		"folded, two":             {get("/m2m/read", "Authorization: Bearer good\r\n , Bearer good\r\n"), 400},
		"folded into another":     {get("/m2m/read", "X-Note: a\r\n Authorization: Bearer good\r\n"), 0},
		"a name with a space":     {get("/m2m/read", "Authorization : Bearer good\r\n"), 0},
		"a name with _":           {get("/m2m/read", "Authorization_: Bearer good\r\n"), 401},
		"Proxy-Authorization":     {get("/m2m/read", "Proxy-Authorization: Bearer good\r\n"), 401},
		"X-Forwarded":             {get("/m2m/read", "X-Forwarded-Authorization: Bearer good\r\nX-Original-Authorization: Bearer good\r\n"), 401},
		"a tab":                   {get("/m2m/read", "Authorization: Bearer\tgood\r\n"), 401},
		"a NUL":                   {get("/m2m/read", "Authorization: Bearer go\x00od\r\n"), 0},
		"a bare CR":               {get("/m2m/read", "Authorization: Bearer go\rod\r\n"), 0},
		"a byte above ASCII":      {get("/m2m/read", "Authorization: Bearer go\xffod\r\n"), 400},
		"quoted":                  {get("/m2m/read", "Authorization: Bearer \"good\"\r\n"), 400},
		"as a parameter":          {get("/m2m/read", "Authorization: Bearer token=\"good\"\r\n"), 400},
		"Basic":                   {get("/m2m/read", "Authorization: Basic Z29vZDpnb29k\r\n"), 401},
		"DPoP":                    {get("/m2m/read", "Authorization: DPoP good\r\nDPoP: x\r\n"), 401},
		"no scheme":               {get("/m2m/read", "Authorization: good\r\n"), 401},
		"a longer scheme":         {get("/m2m/read", "Authorization: Bearers good\r\n"), 401},
		"nothing behind":          {get("/m2m/read", "Authorization: Bearer\r\n"), 400},
		"larger than 64 kB":       {get("/m2m/read", "Authorization: Bearer "+strings.Repeat("a", 65<<10)+"\r\n"), 400},
		"larger than headers":     {get("/m2m/read", "Authorization: Bearer "+strings.Repeat("a", 2<<20)+"\r\n"), 431},
		"a trailer":               {"POST /m2m/read HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\nAuthorization: Bearer good\r\n\r\n", 401},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 43)
			before := m.lastSeen()
			got := m.raw(t, c.request)
			if got.status != c.status && (c.status != 0 || got.status < 400 || got.status >= 500) {
				t.Errorf("%d %s", got.status, got.body)
			}
			if challenge := got.header.Get("WWW-Authenticate"); got.status == 401 && !strings.HasPrefix(challenge, `Bearer realm="bff"`) {
				t.Errorf("challenge %q", challenge)
			}
			if len(got.header["Set-Cookie"]) != 0 || strings.Contains(got.body, "good") || m.lastSeen() != before {
				t.Errorf("a cookie, the token, or a call of the upstream: %v %s", got.header, got.body)
			}
		})
	}
	for name, headers := range map[string]string{
		"as it should be": "Authorization: Bearer good\r\n",
		"lower case":      "authorization: bearer good\r\n",
		"spaces around":   "Authorization:   Bearer   good   \r\n", // RFC 9110 section 5.5: they are not of the value
		// A server may refuse a folded line or read a space in its place (RFC 9112 section
		// 5.2). Ours reads it, and the upstream gets what was read.
		"folded":           "Authorization: Bearer\r\n good\r\n",
		"beside a session": cookie + "Authorization: Bearer good\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 43)
			if got := m.raw(t, get("/m2m/read", headers)); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			seen := m.lastSeen().Header
			if got := seen["Authorization"]; !slices.Equal(got, []string{"Bearer good"}) {
				t.Errorf("the upstream saw %q", got)
			}
			if got := seen.Get("X-User-Id"); !strings.Contains(got, "machine") || seen.Get("X-Session-Id") != "" {
				t.Errorf("the upstream saw %v, want the machine alone", seen)
			}
		})
	}
	// The cookie's session is no use here either way.
	if !ada.signedIn() {
		t.Error("the session suffered")
	}
}

// Other signed things of the same issuer are no access tokens; nor is what we sign
// ourselves.
func TestOtherTokensAtTheGateway(t *testing.T) {
	m := startMachines(t)
	past := time.Now().Add(-time.Minute).Unix()
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ours := &machines{m.world, signing}
	for name, token := range map[string]string{
		"an ID token":             m.sign("JWT", map[string]any{"nonce": "n", "at_hash": "x"}),
		"an ID token for the API": m.sign("JWT", nil),
		"a logout token":          m.sign("logout+jwt", map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}),
		"a refresh token":         m.sign("JWT", map[string]any{"typ": "Refresh"}),
		"an introspection answer": m.sign("token-introspection+jwt", map[string]any{"token_introspection": map[string]any{"active": true}}),
		"a DPoP proof":            m.sign("dpop+jwt", nil),
		"a request object":        m.sign("oauth-authz-req+jwt", nil),
		"our client assertion":    ours.sign("JWT", map[string]any{"iss": "keyway", "sub": "keyway", "aud": machineIssuer}),
		"dressed by ourselves":    ours.sign("at+jwt", nil),
		"for another API":         m.sign("at+jwt", map[string]any{"aud": "https://other.example.com"}),
		"of another issuer":       m.sign("at+jwt", map[string]any{"iss": "https://opaque.example.com"}),
		"without exp":             m.sign("at+jwt", map[string]any{"exp": nil}),
		"expired":                 m.sign("at+jwt", map[string]any{"exp": past}),
		"bound to a key":          m.sign("at+jwt", map[string]any{"cnf": map[string]any{"jkt": "x"}}),
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 44)
			got := m.user().do("GET", "/m2m/jwt", "Authorization", "Bearer "+token)
			if got.status != 401 || got.code() != "invalid_token" || !strings.Contains(got.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("%d %s %v", got.status, got.body, got.header)
			}
			if m.lastSeen() != nil || strings.Contains(m.log.String(), token) {
				t.Error("the upstream was called, or the token logged")
			}
		})
	}
	if got := m.user().do("GET", "/m2m/jwt", "Authorization", "Bearer "+m.sign("at+jwt", nil)); got.status != 200 {
		t.Errorf("a good one: %d %s", got.status, got.body)
	}
}

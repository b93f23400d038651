package realidp

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
)

const startWithin = 30 * time.Second

// Client is a relying party that the provider knows.
type Client struct {
	ID     string
	Secret string
	// AuthMethod is one of the token_endpoint_auth_method values of OpenID
	// Connect Registration; empty means client_secret_basic.
	AuthMethod             string
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
	// JWKSURI may be on loopback. It is fetched at the first use and kept for
	// at least a minute, during which a key that is not in it is not looked for.
	JWKSURI string
	// GrantTypes are authorization_code and refresh_token if left out.
	GrantTypes           []string
	BackchannelLogoutURI string
	// Extra is further client metadata, by its registered names.
	Extra map[string]any
}

// PAR says what the provider makes of pushed authorization requests (RFC 9126).
type PAR string

const (
	PAROff      PAR = "off"
	PAROn       PAR = "on"
	PARRequired PAR = "required"
)

// Options say how the provider behaves. Zero durations leave oidc-provider's
// own defaults.
type Options struct {
	// Port on loopback; any free one if 0. It is for tests in which somebody
	// knows the issuer before the provider is there.
	Port    int
	Clients []Client
	PAR     PAR // empty means PAROff
	// RotateRefreshToken makes refresh tokens good for one use. A second use
	// ends the whole grant.
	RotateRefreshToken bool
	// ClaimsInIDToken puts name and email there; without it they are only at
	// the userinfo endpoint (OpenID Connect Core 5.4).
	ClaimsInIDToken bool
	// JWTAudience, if set, gives machines (client_credentials) JWT access tokens
	// for that audience, with a scope out of JWTScope. Without it access tokens
	// are opaque.
	JWTAudience, JWTScope string
	// OpaqueForAudience has those tokens be opaque, too: for that audience all the
	// same, as introspection says.
	OpaqueForAudience bool
	// SignedIntrospection has answers to introspection be signed for clients that ask
	// for it (RFC 9701).
	SignedIntrospection bool
	// FAPI has the provider hold its clients to FAPI 2.0 with Message Signing: requests
	// are signed, responses too if a client asks, tokens bound to a key, and each proof
	// needs a nonce. Clients say so, too, by their Extra metadata.
	FAPI bool
	// ClientAuthAlgs are the algorithms announced for client assertions;
	// ES256, PS256, RS256 and EdDSA if left out.
	ClientAuthAlgs []string

	AccessTokenTTL, IDTokenTTL, RefreshTokenTTL, SessionTTL time.Duration
}

// Server is a running provider.
type Server struct {
	Issuer string
	proc   *child.Process
}

// Start runs a provider until the end of the test. The test is left out where
// Node or the provider's package is missing.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	node := parts.Need(t, parts.Node)[0]
	dir := filepath.Join(parts.Root(t), "test", "node")
	for _, f := range []string{"idp.mjs", "pages.mjs", "package-lock.json"} {
		os.ReadFile(filepath.Join(dir, f)) // so that go test's cache knows what the result rests on
	}

	cmd := exec.Command(node, "idp.mjs")
	cmd.Dir = dir
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{proc: child.Start(t, cmd)}
	if err := json.NewEncoder(stdin).Encode(o.document()); err != nil {
		t.Fatalf("configure oidc-provider: %v", err)
	}
	s.Issuer = s.proc.WaitFor(t, regexp.MustCompile(`(?m)^ready (\S+)$`), startWithin)[1]
	return s
}

// Pause makes the provider hang: connections are taken and never answered.
func (s *Server) Pause() { s.proc.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() { s.proc.Signal(syscall.SIGCONT) }

// Kill ends the provider at once. It does not come back.
func (s *Server) Kill() { s.proc.Kill() }

// Output is what the provider has written, its view of errors among it.
func (s *Server) Output() string { return s.proc.Output() }

// Behave makes one endpoint, by its path ("/token"), answer later or only with
// a status. Zero for both makes it behave again.
func (s *Server) Behave(t testing.TB, path string, delay time.Duration, status int) {
	t.Helper()
	resp, err := http.PostForm(s.Issuer+"/test/behave", url.Values{
		"path": {path}, "delay_ms": {strconv.FormatInt(delay.Milliseconds(), 10)}, "status": {strconv.Itoa(status)},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("behave: %s", resp.Status)
	}
}

// Request is one request that the provider has answered.
type Request struct {
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Status int               `json:"status"`
	Query  map[string]string `json:"query"`
	Body   map[string]string `json:"body"`
	// Authorization is the scheme of the header, never its value.
	Authorization string `json:"authorization"`
	ClientID      string `json:"client_id"`
	Proof         string `json:"proof"` // the header DPoP
}

// BoundTo is the thumbprint of the key that a user's access token is bound to (RFC
// 9449 section 6); empty: it is bound to none, or no token.
func (s *Server) BoundTo(t testing.TB, token string) string {
	t.Helper()
	resp, err := http.PostForm(s.Issuer+"/test/bound", url.Values{"token": {token}})
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	var body struct{ JKT string }
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Error(err)
	}
	return body.JKT
}

// Requests lists what the provider has answered so far, at the given path or,
// if that is empty, anywhere. A request that it hung up on is not in it.
func (s *Server) Requests(t testing.TB, path string) []Request {
	t.Helper()
	resp, err := http.Get(s.Issuer + "/test/requests")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all, some []Request
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if path == "" || r.Path == path {
			some = append(some, r)
		}
	}
	return some
}

// document is the JSON that idp.mjs reads.
func (o Options) document() map[string]any {
	clients := make([]map[string]any, len(o.Clients))
	for i, c := range o.Clients {
		clients[i] = c.metadata()
	}
	if o.PAR == "" {
		o.PAR = PAROff
	}
	ttl := map[string]int64{}
	for model, d := range map[string]time.Duration{
		"AccessToken": o.AccessTokenTTL, "ClientCredentials": o.AccessTokenTTL, "IdToken": o.IDTokenTTL,
		"RefreshToken": o.RefreshTokenTTL, "Session": o.SessionTTL, "Grant": o.SessionTTL,
	} {
		if d > 0 {
			ttl[model] = max(1, int64(d/time.Second))
		}
	}
	doc := map[string]any{
		"clients": clients, "par": o.PAR, "ttl": ttl,
		"rotate_refresh_token": o.RotateRefreshToken,
		"claims_in_id_token":   o.ClaimsInIDToken,
	}
	if o.Port != 0 {
		doc["port"] = o.Port
	}
	if o.JWTAudience != "" {
		doc["jwt_audience"], doc["jwt_scope"] = o.JWTAudience, o.JWTScope
	}
	if o.OpaqueForAudience {
		doc["access_token_format"] = "opaque"
	}
	if o.SignedIntrospection {
		doc["signed_introspection"] = true
	}
	if o.FAPI {
		doc["fapi"] = true
	}
	if o.ClientAuthAlgs != nil {
		doc["client_auth_algs"] = o.ClientAuthAlgs
	}
	return doc
}

func (c Client) metadata() map[string]any {
	grants := c.GrantTypes
	if grants == nil {
		grants = []string{"authorization_code", "refresh_token"}
	}
	m := map[string]any{"client_id": c.ID, "grant_types": grants, "redirect_uris": c.RedirectURIs}
	if len(c.RedirectURIs) == 0 {
		m["redirect_uris"], m["response_types"] = []string{}, []string{}
	}
	for name, value := range map[string]string{
		"client_secret": c.Secret, "token_endpoint_auth_method": c.AuthMethod,
		"jwks_uri": c.JWKSURI, "backchannel_logout_uri": c.BackchannelLogoutURI,
	} {
		if value != "" {
			m[name] = value
		}
	}
	if len(c.PostLogoutRedirectURIs) > 0 {
		m["post_logout_redirect_uris"] = c.PostLogoutRedirectURIs
	}
	for name, value := range c.Extra {
		m[name] = value
	}
	return m
}

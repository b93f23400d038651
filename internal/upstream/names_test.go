package upstream

import (
	"strings"
	"testing"
	"time"

	"keyway/internal/principal"
	"keyway/internal/secret"
	"keyway/internal/threat"

	"net/http"
)

func TestReservedNamesInAnySpelling(t *testing.T) {
	threat.Covers(t, 34)
	for _, name := range []string{
		"X-User-ID", "x-user-id", "X_User_ID", "x.user.id", "X-User_Id", "X--User-Id", "-X-User-Id-", "X~User!Id", "X-User",
		"X-User-Email", "X-User-Name", "X-User-Roles", "X-Session-Id", "X_SESSION_ID", "X-Auth-Time", "X-Original-User",
		"X-Original-Url", "X-Original-Method", "X-Correlation-Id", "x_correlation.id", "Authorization", "AUTHORIZATION_",
		"X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Prefix", "X-Forwarded", "Forwarded", "X-Real-Ip", "X_REAL_IP",
		"True-Client-Ip", "X-Csrf-Token", "Dpop", "X-Http-Method-Override", "X-Rewrite-Url", "Proxy", "Proxy-Authorization",
		"Http2-Settings", "HTTP2_Settings", "Transfer_Encoding", "Content.Length", "Connection_", "Upgrade.",
		"X-User-" + strings.Repeat("a", 200),
		"Traceparent", "Tracestate", "Baggage",
		"Remote-User", "REMOTE_USER", "Remote-Email", "Remote-Groups", "Remote-Name", "Remote.User.Name", "X-Webauth-User", "x_webauth_role",
		"X-Authenticated-User", "X-Authenticated-Groups", "X-Authenticated_Userid", "X-Remote-User", "X-Remote-Group", "X-Email", "X-Roles", "X_Groups", "X-Access-Token", "X-Id-Token",
		"Impersonate-User", "Impersonate-Extra-Scopes", "IMPERSONATE_GROUP", "X-Ms-Client-Principal", "X-MS-CLIENT-PRINCIPAL-NAME", "X-Ms-Token-Aad-Access-Token",
		"X-Amzn-Oidc-Data", "X-Amzn-Oidc-Identity", "X-Amzn-Mtls-Clientcert", "X-Goog-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion",
		"Cf-Access-Jwt-Assertion", "Cf-Access-Authenticated-User-Email", "cf_access_token", "X-Client-Cert", "X-Client-Cert-Dn", "Client-Cert", "Client-Cert-Chain",
		"X-Ssl-Client-Verify", "X-SSL-Client-S-DN", "Ssl-Client-Cert", "X-Consumer-Username", "X-Consumer-Id", "X-Credential-Identifier", "X-Anonymous-Consumer",
		"X-UserId", "X-UserID", "X-Username", "X-Authentik-Username", "X-Pomerium-Jwt-Assertion", "X-Jwt-Assertion", "X-Userinfo", "Oidc-Claim-Sub", "OIDC_CLAIM_email", "X-Arr-Clientcert",
	} {
		if !reserved(name) {
			t.Errorf("%q passes", name)
		}
	}
	for _, name := range []string{
		"Accept", "Content-Type", "Cookie", "Origin", "Te", "User-Agent", "X-Request-Id", "Range", "Via",
		"Upgrade-Insecure-Requests", "X-Usernames", "Xuserid", "X-Emails", "X-Requested-With", "X-Api-Key", "X-Client-Version", "X-Amzn-Trace-Id", "X-Goog-Api-Key", "X-Ms-Version", "Cf-Ray", "Oidc", "Remote", "Idempotency-Key", "Sec-Websocket-Key", "Proxied", "",
		strings.Repeat("a", 200),
	} {
		if reserved(name) {
			t.Errorf("%q does not pass", name)
		}
	}
}

// FuzzReserved: however the separators of a reserved name are spelled, it stays
// reserved.
func FuzzReserved(f *testing.F) {
	f.Add("X-User-ID", "_", true)
	f.Add("authorization", ".", false)
	f.Fuzz(func(t *testing.T, name, separator string, upper bool) {
		if len(name) > foldedMax || !reserved(name) {
			_ = reserved(name + separator)
			return
		}
		for i := range len(separator) {
			if isAlphanumeric(separator[i]) {
				return
			}
		}
		if separator == "" {
			return
		}
		spelled := strings.ReplaceAll(name, "-", separator)
		if upper {
			spelled = strings.ToUpper(spelled)
		}
		for _, s := range []string{spelled, separator + spelled, spelled + separator} {
			if !reserved(s) {
				t.Errorf("%q is reserved and %q is not", name, s)
			}
		}
	})
}

func TestEncodeValue(t *testing.T) {
	threat.Covers(t, 50)
	for in, want := range map[string]string{
		"Ada Lovelace":        "Ada Lovelace",
		"a\r\nX-User-Id: eve": "a%0D%0AX-User-Id: eve",
		"Zoë":                 "Zo%C3%AB",
		"100%":                "100%25",
		" a ":                 "%20a%20",
		"\x00\x7f\xff":        "%00%7F%FF",
		"":                    "",
	} {
		if got := encodeValue(in); got != want {
			t.Errorf("encodeValue(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHostileClaims(t *testing.T) {
	inject := func(p principal.Principal) http.Header {
		h := http.Header{}
		inject(h, &Request{Principal: &p, CorrelationID: "c"}, "")
		return h
	}
	t.Run("an address that can be read in two ways is left out", func(t *testing.T) {
		threat.Covers(t, 50)
		for _, email := range []string{
			"a@ok@evil", "a@", "@b", "a", "a b@c", "a@b,c@d", `"a@b"@c`, "<a@b>", "a@b\r\nX: y", "a@b\x00", "a;b@c", "a@[::1]",
		} {
			h := inject(principal.Principal{Subject: "s", Email: email})
			if got, ok := h[hUserEmail]; ok {
				t.Errorf("%q became %q", email, got)
			}
		}
		if got := inject(principal.Principal{Subject: "s", Email: "zoë@exämple.org"}).Get(hUserEmail); got != "zo%C3%AB@ex%C3%A4mple.org" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("no value ends its header", func(t *testing.T) {
		threat.Covers(t, 50)
		evil := "x\r\nX-User-Id: admin\r\n\r\nGET /"
		h := inject(principal.Principal{Provider: evil, Subject: evil, Name: evil, SessionID: evil, AuthTime: time.Unix(5, 0)})
		for name, values := range h {
			if len(values) != 1 || strings.ContainsAny(values[0], "\r\n\x00") {
				t.Errorf("%s: %q", name, values)
			}
		}
		if h.Get(hAuthTime) != "5" {
			t.Errorf("%s: %q", hAuthTime, h.Get(hAuthTime))
		}
	})
	t.Run("what is too long is left out and not cut", func(t *testing.T) {
		threat.Covers(t, 50)
		h := inject(principal.Principal{Provider: "p", Subject: strings.Repeat("s", maxValue+1), Name: "n"})
		for _, name := range []string{hUserID, hUserName, hOriginalUser} {
			if got, ok := h[name]; ok {
				t.Errorf("%s: %d bytes", name, len(got[0]))
			}
		}
	})
	t.Run("absent claims are absent headers", func(t *testing.T) {
		threat.Covers(t, 34)
		h := inject(principal.Principal{Provider: "p", Subject: "s"})
		for _, name := range []string{hUserEmail, hUserName, hSessionID, hAuthTime, hAuthorization, hForwardedFor} {
			if got, ok := h[name]; ok {
				t.Errorf("%s: %q", name, got)
			}
		}
		if h.Get(hUserID) != "s" || h.Get(hOriginalUser) != "auth:account:p:s" {
			t.Errorf("got %q", h)
		}
	})
}

func FuzzEncodeValue(f *testing.F) {
	f.Add("a\r\nb")
	f.Add("Zoë 100% ")
	f.Fuzz(func(t *testing.T, s string) {
		got := encodeValue(s)
		for i := range len(got) {
			if got[i] < ' ' || got[i] > '~' {
				t.Fatalf("%q holds %#x", got, got[i])
			}
		}
		if strings.TrimSpace(got) != got {
			t.Fatalf("%q loses its ends", got)
		}
		if back := percentDecode(got); back != s {
			t.Fatalf("%q -> %q -> %q", s, got, back)
		}
	})
}

func percentDecode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			b.WriteByte(byte(strings.IndexByte(upperHex, s[i+1])<<4 | strings.IndexByte(upperHex, s[i+2])))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestOnlyWhatATokenMayHoldGoesOut(t *testing.T) {
	threat.Covers(t, 50)
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for c := range 256 {
		request := Request{Token: NewTokenPolicy(Passthrough, "", nil), AccessToken: secret.NewValue([]byte{'a', byte(c), 'b'})}
		got, _, err := p.authorization(t.Context(), &request)
		if fits := c > ' ' && c < 0x7f; fits != (err == nil) || fits && got != "Bearer a"+string(rune(c))+"b" || !fits && got != "" {
			t.Errorf("byte %#02x: %q, %v", c, got, err)
		}
	}
}

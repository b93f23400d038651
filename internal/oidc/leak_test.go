package oidc_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/oidc"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// peerBytes is in all that the echo says, so that a test sees where any of it goes.
const peerBytes = "PEERBYTES"

// echo is a peer that answers with what it was sent, where no HTTP library
// expects it.
type echo struct {
	url string

	mu     sync.Mutex
	answer func(said string) string
	secret []string
	calls  int
}

func startEcho(t testing.TB) *echo {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{url: "http://" + listener.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { e.serve(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); wg.Wait() })
	return e
}

// public are form members that are no secrets.
var public = map[string]bool{
	"grant_type": true, "client_id": true, "redirect_uri": true, "scope": true, "response_type": true, "audience": true, "resource": true,
	"client_assertion_type": true, "code_challenge": true, "code_challenge_method": true, "token_type_hint": true,
}

func (e *echo) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	form, _ := url.ParseQuery(string(body))
	e.mu.Lock()
	e.calls++
	for name, values := range form {
		if !public[name] {
			e.secret = append(e.secret, values[0])
		}
	}
	said := string(body)
	if _, credential, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
		e.secret = append(e.secret, credential)
		said += "&" + credential
		if _, password, ok := r.BasicAuth(); ok {
			e.secret = append(e.secret, password)
			said += "&" + password
		}
	}
	answer := e.answer(peerBytes + said)
	e.mu.Unlock()
	_, _ = io.WriteString(conn, answer)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // a reset could overtake the answer
		_, _ = io.Copy(io.Discard, conn)
	}
}

// check wants an error that shows nothing of what was sent, in any form.
func (e *echo) check(t *testing.T, err error, quoted bool) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.calls == 0 || err == nil {
		t.Fatalf("%d calls, error %v; want both", e.calls, err)
	}
	for e1 := err; e1 != nil; {
		if text := fmt.Sprintf("%v %+v %#v", e1, e1, e1); !quoted && strings.Contains(text, peerBytes) {
			t.Errorf("the error passes on what the peer said: %.300s", text)
		}
		wrapped, ok := e1.(interface{ Unwrap() error })
		if !ok {
			break
		}
		e1 = wrapped.Unwrap()
	}
	text := err.Error()
	for _, value := range e.secret {
		for _, form := range []string{value, url.QueryEscape(value)} {
			for i := 0; i+12 <= len(form); i++ {
				if strings.Contains(text, form[i:i+12]) {
					t.Fatalf("the error shows a piece of what was sent: %.300s", text)
				}
			}
		}
	}
	e.calls, e.secret = 0, nil
}

func (e *echo) set(answer func(string) string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer, e.calls, e.secret = answer, 0, nil
}

func http200(header, body string) string {
	return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n" + header + "\r\n" + body
}

func oneLine(said string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(said) }

// b64 is how a token would carry it.
func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// echoes are the ways to say it back.
var echoes = map[string]func(said string) string{
	"status line": func(s string) string { return oneLine(s) + "\r\n\r\n" },
	"protocol":    func(s string) string { return "HTTP/" + oneLine(s) + " 200 OK\r\n\r\n" },
	"status code": func(s string) string { return "HTTP/1.1 " + oneLine(s) + "\r\n\r\n" },
	"reason": func(s string) string {
		return "HTTP/1.1 500 " + oneLine(s) + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	},
	"header line":       func(s string) string { return http200(oneLine(s)+"\r\n", "") },
	"header name":       func(s string) string { return http200(oneLine(s)+" (): x\r\n", "") },
	"Content-Length":    func(s string) string { return http200("Content-Length: "+oneLine(s)+"\r\n", "") },
	"Content-Length, 2": func(s string) string { return http200("Content-Length: 1\r\nContent-Length: "+oneLine(s)+"\r\n", "") },
	"Transfer-Encoding": func(s string) string { return http200("Transfer-Encoding: "+oneLine(s)+"\r\n", "") },
	"chunk length":      func(s string) string { return http200("Transfer-Encoding: chunked\r\n", oneLine(s)+"\r\n") },
	"trailer": func(s string) string {
		return http200("Transfer-Encoding: chunked\r\n", "1\r\n{\r\n0\r\n"+oneLine(s)+"\r\n\r\n")
	},
	"gzip": func(s string) string { return http200("Content-Encoding: gzip\r\n", s) },
	"Location": func(s string) string {
		return "HTTP/1.1 307 x\r\nLocation: http://elsewhere.invalid/" + oneLine(s) + "\r\n\r\n"
	},
	"Location, bad":    func(s string) string { return "HTTP/1.1 307 x\r\nLocation: http://[" + oneLine(s) + "\r\n\r\n" },
	"Location, scheme": func(s string) string { return "HTTP/1.1 302 x\r\nLocation: " + oneLine(s) + "://x\r\n\r\n" },
	"switching":        func(s string) string { return "HTTP/1.1 101 " + oneLine(s) + "\r\n\r\n" },
	"body, no JSON":    func(s string) string { return http200("", s) },
	"body, member":     func(s string) string { return http200("", fmt.Sprintf(`{%q:1,%q:2,"access_token":{%q:1}}`, s, s, s)) },
	"body, a number":   func(s string) string { return http200("", `{"access_token":123`+s+`}`) },
	"Content-Type":     func(s string) string { return "HTTP/1.1 200 OK\r\nContent-Type: " + oneLine(s) + "\r\n\r\n{}" },
	"too short":        func(s string) string { return http200("Content-Length: 99999\r\n", s) },
	"token_type":       func(s string) string { return http200("", fmt.Sprintf(`{"access_token":"a","token_type":%q}`, s)) },
	"request_uri":      func(s string) string { return http200("", fmt.Sprintf(`{"request_uri":%q}`, strings.Repeat(s, 99))) },
	"ID token, iss":    func(s string) string { return withIDToken(`{"alg":"ES256"}`, fmt.Sprintf(`{"iss":%q}`, s)) },
	"ID token, alg":    func(s string) string { return withIDToken(fmt.Sprintf(`{"alg":%q}`, s), `{}`) },
	"ID token, typ":    func(s string) string { return withIDToken(fmt.Sprintf(`{"alg":"ES256","typ":%q}`, s+"+jwt"), `{}`) },
	"ID token, no token": func(s string) string {
		return http200("", fmt.Sprintf(`{"access_token":"a","token_type":"Bearer","id_token":%q}`, s))
	},
}

func withIDToken(header, payload string) string {
	return http200("", fmt.Sprintf(`{"access_token":"a","token_type":"Bearer","id_token":%q}`, b64(header)+"."+b64(payload)+"."+b64(strings.Repeat("s", 64))))
}

// quotedEchoes put it where an honest provider puts words for the operator.
var quotedEchoes = map[string]func(said string) string{
	"error_description": func(s string) string { return oauthAnswer("invalid_grant", s) },
	"a piece":           func(s string) string { return oauthAnswer("invalid_grant", "bad: "+s[max(0, len(s)-60):]) },
	"error":             func(s string) string { return oauthAnswer(s, "no") },
	"error, a piece":    func(s string) string { return oauthAnswer("e"+s[max(0, len(s)-40):], "no") },
}

func oauthAnswer(code, description string) string {
	return "HTTP/1.1 400 x\r\nConnection: close\r\n\r\n" + fmt.Sprintf(`{"error":%q,"error_description":%q}`, code, description)
}

func TestErrorsNeverShowWhatAPeerEchoes(t *testing.T) {
	key := signingKey(t)
	for _, method := range []string{oidc.PrivateKeyJWT, oidc.ClientSecretBasic, oidc.ClientSecretPost} {
		evil := startEcho(t)
		var bent atomic.Value // string: the endpoint that the metadata moves to the echo
		w := newWorld(t, func(s *setup) {
			s.client.JWKS, s.client.AuthMethods = publicSet(key), []string{method}
			s.us.Method, s.us.Signing = method, signingRing(t, key)
			s.idp.Hooks = &idp.Hooks{Discovery: func(doc map[string]any) {
				if name, _ := bent.Load().(string); name != "" {
					doc[name] = evil.url + "/"
				}
			}}
		})
		client, err := oidc.NewClient(oidc.ClientOptions{ClientID: clientID, Method: method, Secret: ring(t, "client-secret", clientSecret),
			Signing: signingRing(t, key), Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		bend := func(member string) {
			bent.Store(member)
			if err := w.provider.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for endpoint, act := range map[string]func(t *testing.T) error{
			"pushed_authorization_request_endpoint": func(t *testing.T) error {
				w.provider.Forget()
				_, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
				return err
			},
			"token_endpoint": func(t *testing.T) error {
				_, err := w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: secret.NewValue([]byte("the-refresh-token-of-somebody")), Subject: "s"})
				return err
			},
			"introspection_endpoint": func(t *testing.T) error {
				m, _ := w.provider.Metadata(t.Context())
				answer, err := client.Post(t.Context(), m, "introspection", m.IntrospectionEndpoint, url.Values{"token": {"the-access-token-of-somebody"}}, 1<<10)
				if err == nil {
					err = fmt.Errorf("status %d", answer.Status) // not an error of ours
				}
				return err
			},
			"revocation_endpoint": func(t *testing.T) error {
				err := w.rp.Revoke(t.Context(), secret.NewValue([]byte("the-refresh-token-of-somebody")), "refresh_token")
				if err == nil {
					err = fmt.Errorf("revoked")
				}
				return err
			},
			"userinfo_endpoint": func(t *testing.T) error {
				w.provider.Forget()
				_, err := w.signIn(t, oidc.SignInRequest{})
				return err
			},
		} {
			bend(endpoint)
			for name, answer := range echoes {
				t.Run(method+"/"+endpoint+"/"+name, func(t *testing.T) {
					threat.Covers(t, 23)
					evil.set(answer)
					if err := act(t); err != nil || name != "request_uri" {
						evil.check(t, err, false)
					}
				})
			}
			for name, answer := range quotedEchoes {
				t.Run(method+"/"+endpoint+"/"+name, func(t *testing.T) {
					threat.Covers(t, 23)
					evil.set(answer)
					evil.check(t, act(t), true)
				})
			}
		}
		t.Run(method+"/code", func(t *testing.T) {
			bend("")
			w.provider.Forget()
			b := newBrowser()
			for name, answer := range echoes {
				query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
				bend("token_endpoint")
				evil.set(answer)
				_, err := w.finish(t, b, query)
				if t.Failed() {
					t.Fatal(name)
				}
				evil.check(t, err, false)
				bend("")
			}
		})
	}
}

func TestDiscoveryErrorsNeverShowWhatAPeerSays(t *testing.T) {
	threat.Covers(t, 23)
	evil := startEcho(t)
	p, err := oidc.NewProvider(oidc.ProviderOptions{Name: "demo", Issuer: evil.url, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range echoes {
		t.Run(name, func(t *testing.T) {
			evil.set(answer)
			evil.check(t, p.Load(t.Context()), false)
			if health := p.Health(); bytes.Contains([]byte(health.Error()), []byte(peerBytes)) {
				t.Errorf("health: %v", health)
			}
		})
	}
}

package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/gateway"
	"keyway/internal/route"
	"keyway/internal/session"
)

// point is a decision point that says what it is told to.
type point struct {
	mu     sync.Mutex
	answer func(context.Context, authz.Question) (authz.Decision, error)
	asked  []authz.Question
	events []authz.Event

	enforcer *authz.Enforcer
}

func (p *point) Evaluate(ctx context.Context, q authz.Question) (authz.Decision, error) {
	p.mu.Lock()
	p.asked = append(p.asked, q)
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		return authz.Decision{Allow: true}, nil
	}
	return answer(ctx, q)
}

func (p *point) EvaluateAll(ctx context.Context, qs []authz.Question) (all []authz.Decision, err error) {
	for _, q := range qs {
		d, err := p.Evaluate(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func (p *point) answers(answer func(context.Context, authz.Question) (authz.Decision, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// saysYes allows if the question is as it should be.
func (p *point) saysYes(when func(authz.Question) bool) {
	p.answers(func(_ context.Context, q authz.Question) (authz.Decision, error) {
		return authz.Decision{Allow: when(q), Reason: "the secret reason"}, nil
	})
}

func (p *point) questions() []authz.Question {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// last is what was asked last; the zero Question: nothing.
func (p *point) last() authz.Question {
	if all := p.questions(); len(all) > 0 {
		return all[len(all)-1]
	}
	return authz.Question{}
}

func (p *point) lastEvent() authz.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.events) == 0 {
		return authz.Event{}
	}
	return p.events[len(p.events)-1]
}

// decidedBy adds a decision point, and routes that ask it:
//
//	/api/items       GET, POST (id in the body), DELETE without a mapping
//	/api/items/{id}  GET, PUT (owner in the body), with ?state as a property
//	/api/watch       a stream
//	/m2m/items       for presented tokens, GET
//	/open/items      for everybody, GET
func decidedBy(p *point, change ...func(*authz.Options)) option {
	return func(w *world) {
		item := func(action, id string, props map[string]string) route.Mapping {
			return route.Mapping{Resource: "item", Action: action, IDFrom: id, Props: props}
		}
		decided := func(id, path string, auth route.Auth, methods map[string]route.Mapping) route.Route {
			return route.Route{ID: id, Path: path, Service: "api", Auth: auth, Authz: route.AuthzPDP, AuthzMap: methods}
		}
		watch := decided("watch", "/api/watch", route.AuthSession, map[string]route.Mapping{"GET": item("watch", "", nil)})
		watch.Streaming = true
		w.routes = append(w.routes,
			decided("items", "/api/items", route.AuthSession, map[string]route.Mapping{
				"GET": item("list", "", nil), "POST": item("create", "$.id", map[string]string{"owner": "$.owner"}),
			}),
			decided("item", "/api/items/{id}", route.AuthSession, map[string]route.Mapping{
				"GET": item("read", "{id}", map[string]string{"state": "?state"}),
				"PUT": item("update", "{id}", map[string]string{"owner": "$.owner"}),
			}),
			watch,
			decided("machine-items", "/m2m/items", route.AuthBearer, map[string]route.Mapping{"GET": item("list", "", nil)}),
			decided("open-items", "/open/items", route.AuthNone, map[string]route.Mapping{"GET": item("list", "", nil)}),
		)
		o := authz.Options{PDP: p, TTLAllow: time.Minute, TTLDeny: time.Minute, MaxSize: 1000}
		for _, f := range change {
			f(&o)
		}
		var err error
		p.enforcer, err = authz.NewEnforcer(o)
		must(w.t, err)
		w.t.Cleanup(p.enforcer.Close)
		w.settings.AuthzBodyBytes = 1 << 10
		w.settings.TrustedProxies = gateway.TrustedProxies{netip.MustParsePrefix("127.0.0.0/8")}
		w.parts = append(w.parts, func(parts *gateway.Parts) {
			parts.Authz, parts.AccessAPI = p.enforcer, true
			parts.Asks = authz.CompileAll(parts.Routes, func(r *route.Route, method string) *authz.Ask {
				m, ok := r.Mapping(method)
				if !ok {
					return nil
				}
				ask, err := authz.Compile(authz.Mapping(m))
				must(w.t, err)
				return ask
			})
		})
		w.options = append(w.options, func(o *gateway.Options) {
			o.OnDecision = func(e authz.Event) {
				who := *e.Who
				e.Who = &who
				p.mu.Lock()
				defer p.mu.Unlock()
				p.events = append(p.events, e)
			}
		})
	}
}

// raw sends bytes, with the user's cookie and CSRF token for {auth}, and reads one
// response. more is sent when the gateway has said 100 Continue.
func (u *user) raw(t *testing.T, request, more string) response {
	t.Helper()
	auth := "Host: " + strings.TrimPrefix(u.w.server.URL, "http://") + "\r\nCookie: bff_session=" + u.cookie("bff_session") + "\r\nX-CSRF-Token: " + u.csrf() + "\r\n"
	conn, err := net.Dial("tcp", u.w.server.Listener.Addr().String())
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, strings.Replace(request, "{auth}", auth, 1))
	must(t, err)
	reader := bufio.NewReader(conn)
	if more != "" {
		line, err := reader.ReadString('\n')
		must(t, err)
		if !strings.Contains(line, "100 Continue") {
			t.Fatalf("expected 100 Continue, found %q", line)
		}
		_, err = reader.ReadString('\n')
		must(t, err)
		_, err = io.WriteString(conn, more)
		must(t, err)
	}
	answer, err := http.ReadResponse(reader, nil)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	return response{answer.StatusCode, answer.Header, string(body)}
}

// posted is a request with a body of a type.
func posted(method, target, contentType, body string, headers ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\n{auth}Content-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s",
		method, target, contentType, len(body), strings.Join(append(headers, ""), "\r\n"), body)
}

// setRoles has a user's session have other roles, as a refresh on another replica would.
func (w *world) setRoles(u *user, roles []string) {
	w.t.Helper()
	sessions := w.current.Load().Sessions
	s, err := sessions.Find(w.t.Context(), []string{"bff_session=" + u.cookie("bff_session")}, session.Client{})
	must(w.t, err)
	_, err = sessions.Update(w.t.Context(), s, func(r session.Record) session.Record { r.Roles = roles; return r })
	must(w.t, err)
}

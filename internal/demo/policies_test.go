package demo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/authz"
	"keyway/internal/authz/cedar"
	"keyway/internal/config"
	"keyway/internal/demo/idp"
	"keyway/internal/principal"
	"keyway/internal/route"
)

// laidOut is a folder as the demo makes it, and its policies.
func laidOut(t *testing.T) (folder string, point *cedar.Point) {
	t.Helper()
	folder = PoliciesFolder(t.TempDir())
	if err := layOutPolicies(folder); err != nil {
		t.Fatal(err)
	}
	point, err := cedar.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return folder, point
}

// people are who the demo knows, as the gateway knows them.
func people(t *testing.T) map[string]*principal.Principal {
	t.Helper()
	all := map[string]*principal.Principal{
		"the machine":                  {Provider: "demo", Subject: machineClient, ClientID: machineClient, Scopes: []string{machineScope}},
		"a machine of another scope":   {Provider: "demo", Subject: machineClient, ClientID: machineClient, Scopes: []string{"notes:write"}},
		"a machine that says it's ada": {Provider: "demo", Subject: machineClient, ClientID: machineClient, Roles: []string{"editor"}},
		"somebody without a role":      {Provider: "demo", Subject: "u-eve", SessionID: "s"},
		"a user with a scope":          {Provider: "demo", Subject: "u-eve", SessionID: "s", Scopes: []string{machineScope}},
	}
	for _, u := range idp.DemoUsers() {
		all[u.Username] = &principal.Principal{
			Provider: "demo", Subject: u.Subject, Name: u.Name, Email: u.Email, SessionID: "s", Roles: u.Roles,
		}
	}
	return all
}

// What is not in the list is not allowed, to anybody.
var allowed = map[string][]string{
	"ada":         {"GET /api/notes", "HEAD /api/notes", "POST /api/notes", "GET /api/ticks", "HEAD /api/ticks", "GET /api/ws", "HEAD /api/ws"},
	"grace":       {"GET /api/notes", "HEAD /api/notes", "GET /api/ticks", "HEAD /api/ticks", "GET /api/ws", "HEAD /api/ws"},
	"the machine": {"GET /m2m/notes", "HEAD /m2m/notes"},
}

// Each person at each route by each method, by the routes and policies as they are
// delivered.
func TestWhoMayDoWhat(t *testing.T) {
	_, point := laidOut(t)
	enforcer, err := authz.NewEnforcer(authz.Options{PDP: point})
	if err != nil {
		t.Fatal(err)
	}
	defer enforcer.Close()
	ports, _ := PortsFrom(8000)
	c, err := config.LoadFiles("demo", Files(), ports.Environ(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for name, who := range people(t) {
		may := map[string]bool{}
		for _, what := range allowed[name] {
			may[what] = true
		}
		for _, r := range c.Routes.Routes() {
			if r.Authz != route.AuthzPDP {
				continue
			}
			for _, method := range r.EffectiveMethods() {
				what := method + " " + r.Path
				a, ok := c.Asked(r, method)
				if !ok {
					t.Errorf("%s: nothing says what to ask", what)
					continue
				}
				asked++
				v, err := enforcer.Decide(t.Context(), who, a.Ask, nothing{}, authz.Circumstances{})
				if err != nil || v.Allow != may[what] {
					t.Errorf("%s, %s: %+v, %v, want %v", name, what, v, err, may[what])
				}
				delete(may, what)
			}
		}
		if len(may) > 0 {
			t.Errorf("%s: no route asks about %v", name, may)
		}
	}
	if asked < 30 {
		t.Errorf("%d questions asked", asked)
	}
}

// nothing is a request whose path, query and body decide nothing.
type nothing struct{}

func (nothing) Param(string) (string, bool) { return "", false }
func (nothing) RawQuery() string            { return "" }
func (nothing) Body() ([]byte, error)       { return nil, errors.New("not asked for") }

// The schema finds what a person mistypes, with where it is.
func TestAMistakeInAPolicyIsFound(t *testing.T) {
	for wrong, want := range map[string]string{
		`permit (principal is user, action == Action::"raed", resource is note);`:                          "raed",
		`permit (principal is user, action, resource is note) when { principal.role == "editor" };`:        "role",
		`permit (principal is client, action == Action::"create", resource is note);`:                      "mine.cedar:1:1",
		`permit (principal is user, action == Action::"read", resource is notes);`:                         "notes",
		`permit (principal is user, action == Action::"read", resource is note) when { context.ip == 1 };`: "ip",
		`permit (principal is user`: "mine.cedar",
	} {
		folder, point := laidOut(t)
		if err := os.WriteFile(filepath.Join(folder, "mine.cedar"), []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		before := point.Policies()
		changed, err := point.Reload()
		if bad, ok := errors.AsType[*cedar.Error](err); !ok || changed || !strings.Contains(bad.Error(), want) {
			t.Errorf("%s\n\tgot %v, want something with %q", wrong, err, want)
		}
		if point.Policies() != before {
			t.Errorf("%s: it is in use", wrong)
		}
	}
}

// Whoever else is on the machine can't read the policies, nor say who may do what.
func TestThePoliciesAreTheOwnersAlone(t *testing.T) {
	folder, _ := laidOut(t)
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPoliciesThatCantBePutDown(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policies"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := layOutPolicies(PoliciesFolder(dir)); err == nil {
		t.Error("a file is in the way, and nobody says so")
	}
}

package source

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// Where secrets are found, and what is beside them.
func TestPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		env   map[string]string // $ is the folder
		files map[string]int
		want  string // "" for nothing
	}{
		"none":                          {nil, map[string]int{"other": 1}, ""},
		"folder":                        {nil, map[string]int{"auth_client_secret": 1}, "1"},
		"folder, dashes":                {nil, map[string]int{"auth-client-secret": 1}, "1"},
		"folder, alias":                 {nil, map[string]int{"oidc-client-secret": 1}, "1"},
		"folder, order":                 {nil, map[string]int{"oidc-client-secret": 3, "auth-client-secret": 2, "auth_client_secret": 1}, "1"},
		"NAME_FILE first":               {map[string]string{"AUTH_CLIENT_SECRET_FILE": "$/x", "AUTH_CLIENT_SECRET": value(2)}, map[string]int{"x": 1, "auth_client_secret": 3}, "1"},
		"environment second":            {map[string]string{"AUTH_CLIENT_SECRET": value(2) + "\n"}, map[string]int{"auth_client_secret": 3}, "2"},
		"previous, folder":              {nil, map[string]int{"auth_client_secret": 1, "auth_client_secret_previous": 2}, "1/2"},
		"previous, dash":                {nil, map[string]int{"auth_client_secret": 1, "auth_client_secret-previous": 2}, "1/2"},
		"previous, all dashes":          {nil, map[string]int{"auth-client-secret": 1, "auth-client-secret-previous": 2}, "1/2"},
		"previous, alias":               {nil, map[string]int{"oidc-client-secret": 1, "oidc-client-secret-previous": 2}, "1/2"},
		"previous, other spelling":      {nil, map[string]int{"oidc-client-secret": 1, "auth_client_secret_previous": 2}, "1/2"},
		"previous, beside NAME_FILE":    {map[string]string{"AUTH_CLIENT_SECRET_FILE": "$/x"}, map[string]int{"x": 1, "x-previous": 2}, "1/2"},
		"NAME_PREVIOUS_FILE":            {map[string]string{"AUTH_CLIENT_SECRET_PREVIOUS_FILE": "$/old"}, map[string]int{"auth_client_secret": 1, "old": 2, "auth_client_secret_previous": 3}, "1/2"},
		"NAME_PREVIOUS_FILE, not there": {map[string]string{"AUTH_CLIENT_SECRET_PREVIOUS_FILE": "$/old"}, map[string]int{"auth_client_secret": 1}, "1"},
		"NAME_PREVIOUS":                 {map[string]string{"AUTH_CLIENT_SECRET": value(1), "AUTH_CLIENT_SECRET_PREVIOUS": value(2)}, nil, "1/2"},
		"previous file, environment":    {map[string]string{"AUTH_CLIENT_SECRET": value(1)}, map[string]int{"auth_client_secret_previous": 2}, "1/2"},
		"previous is the same":          {nil, map[string]int{"auth_client_secret": 1, "auth_client_secret_previous": 1}, "1"},
		"previous alone":                {nil, map[string]int{"auth_client_secret_previous": 2}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			env := map[string]string{}
			for k, v := range c.env {
				if v[0] == '$' {
					v = dir + v[1:]
				}
				env[k] = v
			}
			for file, n := range c.files {
				write(t, filepath.Join(dir, file), value(n))
			}
			synctest.Test(t, func(t *testing.T) {
				o := pollOnly
				o.Finder.Dir = dir
				o.Finder.Aliases = map[string][]string{"AUTH_CLIENT_SECRET": {"oidc-client-secret"}}
				h := watch(t, o, env, Secret{Name: "client-secret", Variable: "AUTH_CLIENT_SECRET"})
				defer h.stop()
				if c.want == "" {
					h.expect()
				} else {
					h.expect(c.want)
				}
			})
		})
	}
}

// An operator's rotation by hand, step by step.
func TestPreviousAppearsAndGoes(t *testing.T) {
	dir := t.TempDir()
	path, previous := filepath.Join(dir, "salt"), filepath.Join(dir, "salt_previous")
	synctest.Test(t, func(t *testing.T) {
		o := pollOnly
		o.Grace = 10 * time.Minute
		o.Finder.Dir = dir
		write(t, path, value(1))
		h := watch(t, o, nil, Secret{Name: "salt", Variable: "SALT", Check: strong})
		defer h.stop()
		h.expect("1")
		write(t, previous, value(1)) // first the old one is put aside
		h.expect()
		renameOver(t, path, value(2)) // then the new one is put in its place
		h.expect("2/1")
		write(t, previous, "") // trouble with it is trouble, too
		h.expect("empty")
		renameOver(t, path, value(3)) // and keeps nothing from going on
		h.expect("3/1")
		write(t, previous, value(2))
		h.expect("empty over", "3/2")
		remove(t, previous) // it is away for a moment
		h.expect()
		write(t, previous, value(2))
		time.Sleep(time.Hour)
		h.mu.Lock()
		h.troubles = nil // that it was written again is said
		h.mu.Unlock()
		h.expect()
		remove(t, previous) // and for good
		h.expect()
		time.Sleep(10 * time.Minute)
		h.expect("3")
	})
}

// A file appears where nothing was: nothing is amiss before.
func TestAppearsLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	synctest.Test(t, func(t *testing.T) {
		o := pollOnly
		o.Finder.Dir = dir
		h := watch(t, o, nil, Secret{Name: "salt", Variable: "SALT"})
		defer h.stop()
		h.expect()
		mkdir(t, dir)
		write(t, filepath.Join(dir, "salt"), value(1))
		h.expect("1")
	})
}

// The file is named otherwise now. What lies in the other place may be old, so it
// is not believed at once; but a replica that starts now would take it, and
// replicas must agree.
func TestMovesToAnotherPlace(t *testing.T) {
	dir := t.TempDir()
	underscore, dash := filepath.Join(dir, "csrf_key"), filepath.Join(dir, "csrf-key")
	synctest.Test(t, func(t *testing.T) {
		o := pollOnly
		o.Finder.Dir, o.Grace = dir, 5*time.Minute
		write(t, underscore, value(1))
		write(t, dash, value(2))
		h := watch(t, o, nil, Secret{Name: "csrf", Variable: "CSRF_KEY"})
		defer h.stop()
		h.expect("1")
		remove(t, underscore)
		h.expect("missing")
		time.Sleep(5 * time.Minute)
		h.expect("missing over", "2")
		write(t, underscore, value(3)) // the first place counts again as soon as there is something
		h.expect("3")
		remove(t, dash)
		h.expect()
		remove(t, underscore)
		h.expect("missing")
		time.Sleep(time.Hour)
		h.expect() // nowhere else to go: the last good value stays
	})
}

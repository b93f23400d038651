package verify

import (
	"slices"
	"time"
)

// Check is one step of the checklist, and what came of it.
type Check struct {
	ID   string `json:"id"` // stable, for programs
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Skipped says that it does not apply here; Saw says why, and OK is true.
	Skipped bool   `json:"skipped,omitempty"`
	Saw     string `json:"saw"`
	// Cause and Cure are for people; empty when it is OK.
	Cause string `json:"cause"`
	Cure  string `json:"cure"`
	// TookMS is how long it took, in milliseconds.
	TookMS int64 `json:"took_ms"`
	// Secrets are the names of those that it is about.
	Secrets []string `json:"secrets,omitempty"`

	// Definite: it failed because a version was refused, for certain. A peer that is
	// away, or anything else that may have its cause elsewhere, never is.
	Definite bool `json:"-"`
	// Blames is the version that was refused, and Spares another live one that was
	// accepted in the same breath; either may be empty.
	Blames, Spares string `json:"-"`
}

// Report is the checklist, gone through once.
type Report struct {
	OK      bool      `json:"ok"` // every check is
	Checks  []Check   `json:"checks"`
	At      time.Time `json:"at"`
	Replica string    `json:"replica,omitempty"` // that looked
	// WaitedMS is how long whoever asked has waited before it was begun, in
	// milliseconds, because another was gone through, or had just been.
	WaitedMS int64 `json:"waited_ms,omitempty"`
	// Deployment is what whoever looks from outside has to know; nil unless the whole
	// checklist was gone through from inside.
	Deployment *Deployment `json:"deployment,omitempty"`
}

// Find is the check with this id.
func (r Report) Find(id string) (Check, bool) {
	for _, c := range r.Checks {
		if c.ID == id {
			return c, true
		}
	}
	return Check{}, false
}

// Failed are the checks that are not OK.
func (r Report) Failed() []Check {
	var failed []Check
	for _, c := range r.Checks {
		if !c.OK {
			failed = append(failed, c)
		}
	}
	return failed
}

// Renewed is r with the checks of a newer report in the place of those with the same
// id: the newest that is known of each.
func (r Report) Renewed(newer Report) Report {
	checks := slices.Clone(r.Checks)
	for _, c := range newer.Checks {
		if i := slices.IndexFunc(checks, func(old Check) bool { return old.ID == c.ID }); i >= 0 {
			checks[i] = c
		} else {
			checks = append(checks, c)
		}
	}
	newer.Checks = checks
	newer.OK = !slices.ContainsFunc(checks, func(c Check) bool { return !c.OK })
	return newer
}

// And is the two reports as one: what was seen from inside, then from outside.
func (r Report) And(o Report) Report {
	r.Checks = append(r.Checks[:len(r.Checks):len(r.Checks)], o.Checks...)
	r.OK = r.OK && o.OK
	return r
}

// Deployment is public knowledge of a running gateway, for [Outside]. Zero fields
// have the checks that need them left out.
type Deployment struct {
	// Public is the origin by which browsers know the gateway, as in
	// https://app.example.com.
	Public string `json:"public,omitempty"`
	// ActiveKey and Keys are the kids of the active signing key and of all live ones.
	ActiveKey string   `json:"active_key,omitempty"`
	Keys      []string `json:"keys,omitempty"`
	// Authorization is the authorization endpoint that the IdP's metadata names.
	Authorization string `json:"authorization,omitempty"`
	// Session is a path of a session route that answers GET; Bearer are those of
	// bearer routes, with a method that each takes.
	Session string  `json:"session,omitempty"`
	Bearer  []Route `json:"bearer,omitempty"`
	// Cookie is the session cookie's name.
	Cookie string `json:"cookie,omitempty"`
	// SecureCookie says whether cookies are for https only.
	SecureCookie bool `json:"secure_cookie,omitempty"`
}

// Route is one request that a route takes.
type Route struct {
	ID     string `json:"id"`
	Method string `json:"method"`
	Path   string `json:"path"`
}

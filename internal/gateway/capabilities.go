package gateway

import (
	"net/http"
	"net/url"

	"keyway/internal/authz"
	"keyway/internal/problem"
)

// capabilitiesView is what a page may know of what its user may do.
type capabilitiesView struct {
	Resource string   `json:"resource"`
	ID       string   `json:"id,omitempty"`
	Actions  []string `json:"actions"`
}

// capabilities serves GET /auth/capabilities?resource=TYPE[&id=ID]: which of the
// actions that mappings ask about, on resources of that type, the user may do. It is
// for showing or hiding a button: properties that mappings read from a request are
// not there to be asked about, and what is done is decided when it is done.
func (c *call) capabilities() error {
	if c.gen.Authz == nil && !c.gen.Settings.AuthzDisabled {
		return problem.New(problem.NotFound, nil)
	}
	query, err := url.ParseQuery(c.query)
	if err != nil {
		return problem.New(problem.AmbiguousQuery, err)
	}
	view := capabilitiesView{Actions: []string{}}
	about := authz.Entity{}
	if names := query["resource"]; len(names) == 1 && len(names[0]) <= authz.MaxName && authz.CheckID(names[0]) == nil {
		view.Resource, about = names[0], authz.AnyOf(names[0])
	} else {
		return problem.Newf(problem.BadRequest, "expected resource=TYPE once, found %d", len(names))
	}
	if ids, ok := query["id"]; ok {
		if len(ids) != 1 || authz.CheckID(ids[0]) != nil {
			return problem.Newf(problem.BadRequest, "expected id=ID once at most, of printable characters")
		}
		view.ID, about.ID = ids[0], ids[0]
	}
	s, err := c.findSession()
	if err != nil {
		return err
	}
	if exhausted(s) {
		return overForGood(nil)
	}
	c.renewCSRF(s)
	c.who = s.Principal()
	actions := c.gen.Asks.Actions(view.Resource)
	items := make([]authz.Item, min(len(actions), authz.MaxBatch))
	for i := range items {
		items[i] = authz.Item{Action: actions[i], Resource: about}
	}
	answers, err := c.decideAll(items)
	if err != nil {
		return err
	}
	for i, answer := range answers {
		if answer.Decision {
			view.Actions = append(view.Actions, actions[i])
		}
	}
	return c.writeJSON(http.StatusOK, view)
}

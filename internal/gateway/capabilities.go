package gateway

import (
	"maps"
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

// capabilities serves GET /auth/capabilities?resource=TYPE[&id=ID][&props=JSON]: which
// of the actions that mappings ask about, on resources of that type, the user may do.
// It is for showing or hiding a button: what is done is decided when it is done.
//
// There is no request that mappings could read properties from. Constants of theirs
// are asked about, and the rest is what the page says it is going to send.
func (c *call) capabilities() error {
	if c.gen.Authz == nil && !c.gen.Settings.AuthzDisabled {
		return problem.New(problem.NotFound, nil)
	}
	about, err := c.askedAbout()
	if err != nil {
		return err
	}
	s, err := c.findSession()
	if err != nil {
		return err
	}
	if err := c.ownPage(); err != nil {
		return err
	}
	if err := c.asker(s); err != nil {
		return err
	}
	c.renewCSRF(s)
	actions := c.gen.Asks.Actions(about.Type)
	items := make([]authz.Item, len(actions))
	for i, action := range actions {
		items[i] = authz.Item{Action: action, Resource: about}
		if id := c.gen.Asks.FixedID(about.Type, action); id != "" {
			items[i].Resource.ID = id // as each call has it
		}
		if fixed := c.gen.Asks.Fixed(about.Type, action); len(fixed) > 0 {
			all := maps.Clone(about.Properties)
			if all == nil {
				all = map[string]any{}
			}
			maps.Copy(all, fixed) // last: no call could have them otherwise
			items[i].Resource.Properties = all
		}
	}
	answers, err := c.decideAll(items)
	if err != nil {
		return err
	}
	view := capabilitiesView{Resource: about.Type, Actions: []string{}}
	if about.ID != authz.AnyOf("").ID {
		view.ID = about.ID
	}
	for i, answer := range answers {
		if answer.Decision {
			view.Actions = append(view.Actions, actions[i])
		}
	}
	return c.writeJSON(http.StatusOK, view)
}

// askedAbout is the resource that the query names.
func (c *call) askedAbout() (about authz.Entity, err error) {
	query, err := url.ParseQuery(c.query)
	if err != nil {
		return about, problem.New(problem.AmbiguousQuery, err)
	}
	names := query["resource"]
	if len(names) != 1 || len(names[0]) > authz.MaxName || authz.CheckID(names[0]) != nil {
		return about, problem.Newf(problem.BadRequest, "expected resource=TYPE once, found %d", len(names))
	}
	about = authz.AnyOf(names[0])
	if ids, ok := query["id"]; ok {
		if len(ids) != 1 || authz.CheckID(ids[0]) != nil {
			return about, problem.Newf(problem.BadRequest, "expected id=ID once at most, of printable characters")
		}
		about.ID = ids[0]
	}
	if props, ok := query["props"]; ok {
		if len(props) != 1 || len(props[0]) > authz.MaxProperties {
			return about, problem.Newf(problem.BadRequest, "expected props=JSON once at most, of at most %d bytes", authz.MaxProperties)
		}
		if about.Properties, err = authz.ParseProperties(props[0]); err != nil || about.Properties == nil {
			return about, problem.Newf(problem.BadRequest, "expected props to be a JSON object")
		}
	}
	return about, nil
}

package gateway

import (
	"net/http"

	"keyway/internal/authz"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/session"
)

// Paths of AuthZEN, for pages that ask the decision point in this process.
const (
	accessPrefix    = "/access/v1/"
	evaluationPath  = accessPrefix + "evaluation"
	evaluationsPath = accessPrefix + "evaluations"
	maxAccess       = 64 << 10
)

// access is the endpoint of a path of AuthZEN, unless a route has it: then it is that
// service's. Paths are compared as they were sent.
func (c *call) access() (endpoint, bool) {
	if !c.gen.AccessAPI || c.path != evaluationPath && c.path != evaluationsPath {
		return endpoint{}, false
	}
	if _, outcome := c.gen.Routes.Match(c.r.Method, c.path); outcome != route.NotFound {
		return endpoint{}, false
	}
	batch := c.path == evaluationsPath
	return endpoint{name: "access", methods: map[string]func(*call) error{
		http.MethodPost: func(c *call) error { return c.evaluate(batch) },
	}}, true
}

// evaluate serves POST /access/v1/evaluation and /access/v1/evaluations (AuthZEN 1.0
// sections 6 and 7): what may the user do who is signed in? The answer is for showing
// or hiding a button; what is done is decided when it is done. Reasons stay here.
func (c *call) evaluate(batch bool) error {
	if c.gen.Authz == nil {
		return problem.New(problem.NotFound, nil)
	}
	s, err := c.findSession()
	if err != nil {
		return err
	}
	if err := c.guardPost(s); err != nil {
		return err
	}
	if exhausted(s) {
		return overForGood(nil)
	}
	if unread := readable(c.r); unread != nil {
		return problem.New(problem.BadRequest, unread)
	}
	body, err := c.readBody(maxAccess)
	if err != nil {
		return err
	}
	request, err := authz.ParseRequest(body, batch)
	if err != nil {
		return problem.New(problem.BadRequest, err)
	}
	c.who = s.Principal()
	ours := c.gen.Authz.Subject(&c.who)
	for i := range request.Subjects {
		if named := &request.Subjects[i]; named.Type != ours.Type || named.ID != ours.ID {
			return problem.Newf(problem.Forbidden, "it asks about another subject than who is signed in")
		}
	}
	answers, err := c.decideAll(request.Items)
	if err != nil {
		return err
	}
	if !request.Batch {
		return c.writeJSON(http.StatusOK, answers[0])
	}
	for i := range answers {
		if request.Semantic == authz.DenyFirst && !answers[i].Decision || request.Semantic == authz.PermitFirst && answers[i].Decision {
			answers = answers[:i+1]
			break
		}
	}
	return c.writeJSON(http.StatusOK, map[string]any{"evaluations": answers})
}

// accessAnswer is an access evaluation response (section 6.2).
type accessAnswer struct {
	Decision bool `json:"decision"`
}

// decideAll asks about several things that c.who might do. They are no requests, so
// the record of decisions has none of them. Without an answer nobody may.
func (c *call) decideAll(items []authz.Item) ([]accessAnswer, error) {
	answers := make([]accessAnswer, len(items))
	if c.gen.Settings.AuthzDisabled {
		for i := range answers {
			answers[i].Decision = true
		}
		return answers, nil
	}
	ctx, done := c.step("authz.decide")
	all, err := c.gen.Authz.DecideAll(ctx, &c.who, items, authz.Circumstances{Address: c.client.Addr, CorrelationID: c.id})
	done.Fail(faultOf(err))
	done.End()
	if err == nil && len(all) != len(items) {
		err = authz.ErrAnswer
	}
	if err != nil {
		return nil, problem.Newf(problem.Forbidden, "no answer: %v", err) // not wrapped: it is no other failure
	}
	for i := range all {
		answers[i].Decision = all[i].Allow
	}
	return answers, nil
}

// guardPost refuses what another site's page, or somebody without this session's CSRF
// token, wants to know.
func (c *call) guardPost(s *session.Session) error {
	if err := c.gen.Settings.CORS.sameSite(c.r, c.client); err != nil {
		c.gateway.metrics.CSRFViolation("origin")
		return problem.New(problem.CrossOrigin, err)
	}
	return c.checkCSRF(s, c.r.Header["X-Csrf-Token"])
}

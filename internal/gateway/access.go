package gateway

import (
	"net/http"
	"time"

	"keyway/internal/authz"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/session"
	"keyway/internal/upstream"
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
	if err := c.asker(s); err != nil {
		return err
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

// asker leaves in c.who whom a page asks about: its user, as the next call of the page
// would find them. So an access token that is over is renewed, because that may bring
// other roles. Where that can't be done now, those that are known go on to count for a
// while, as they do for routes that pass no token on.
func (c *call) asker(s *session.Session) error {
	fresh, err := c.fresh(s)
	switch {
	case err == nil:
		s = fresh
	case problem.CodeOf(err).Status() == http.StatusUnauthorized || c.undecided(err):
		return err
	}
	if exhausted(s) {
		return overForGood(nil)
	}
	if err := c.rightsKnown(s); err != nil {
		return err
	}
	c.who = s.Principal()
	return nil
}

// decideAll asks about several things that c.who might do, and counts them. Without an
// answer nobody may.
func (c *call) decideAll(items []authz.Item) ([]accessAnswer, error) {
	answers := make([]accessAnswer, len(items))
	if c.gen.Settings.AuthzDisabled {
		for i := range answers {
			answers[i].Decision = true
		}
		return answers, nil
	}
	if err := c.takeQuestions(len(items)); err != nil {
		return nil, err
	}
	c.decidable()
	ctx, done := c.step("authz.decide")
	began := time.Now()
	all, err := c.gen.Authz.DecideAll(ctx, &c.who, items, authz.Circumstances{Address: c.client.Addr, CorrelationID: c.id})
	took := time.Since(began)
	done.Fail(faultOf(err))
	done.End()
	if err == nil && len(all) != len(items) {
		err = authz.ErrAnswer
	}
	c.tellAnswers(items, all, took, err)
	if err != nil && c.r.Context().Err() != nil {
		return nil, upstream.ErrClientGone
	}
	if err != nil {
		return nil, problem.Newf(problem.Forbidden, "no answer: %v", err) // not wrapped: it is no other failure
	}
	for i := range all {
		answers[i].Decision = all[i].Allow
	}
	return answers, nil
}

// tellAnswers tells the observer what was decided. On an error the page was told nothing;
// what was decided before it will be remembered, and so is told now.
func (c *call) tellAnswers(items []authz.Item, all []authz.Verdict, took time.Duration, err error) {
	for i := range items {
		event := authz.Event{
			Decision: authz.Denied, Resource: items[i].Resource.Type, ID: items[i].Resource.ID, Action: items[i].Action,
			Who: &c.who, CorrelationID: c.id, Took: took, Asked: true,
		}
		switch {
		case len(all) != len(items):
			event.Decision, event.Reason = authz.NoAnswer, "no answer"
		case err != nil && all[i].Undecided():
			event.Decision, event.Reason = authz.NoAnswer, all[i].Reason
		default:
			event.Reason, event.Cached, event.Context = all[i].Reason, all[i].Cached, all[i].Context
			if all[i].Allow {
				event.Decision = authz.Allowed
			}
		}
		c.gateway.reportDecision(&event)
	}
}

// ownPage refuses what another site's page wants to know. It could not read the
// answer, but the question would be counted, and told to the record, as this user's.
func (c *call) ownPage() error {
	if err := c.gen.Settings.CORS.sameSite(c.r, c.client); err != nil {
		c.gateway.metrics.CSRFViolation("origin")
		return problem.New(problem.CrossOrigin, err)
	}
	return nil
}

// guardPost refuses what another site's page, or somebody without this session's CSRF
// token, wants to know.
func (c *call) guardPost(s *session.Session) error {
	if err := c.ownPage(); err != nil {
		return err
	}
	return c.checkCSRF(s, c.r.Header["X-Csrf-Token"])
}

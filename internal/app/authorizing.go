package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/cedar"
	"keyway/internal/config"
	"keyway/internal/gateway"
	"keyway/internal/route"
	"keyway/internal/telemetry"
	"keyway/internal/telemetry/trace"
)

// authorizing is who decides who may do what, and what is remembered of that. It
// lives as long as the process, whatever keys come and go.
type authorizing struct {
	enforcer *authz.Enforcer
	folder   *cedar.Point // nil: the decision point is not in this process
	remote   *remotePoint // nil: it is
	asks     *authz.Asks
}

// parts adds what a generation decides by. The nil authorizing adds nothing, so that
// routes that want decisions are closed.
func (z *authorizing) parts(p *gateway.Parts) {
	if z == nil {
		return
	}
	p.Authz, p.Asks, p.AccessAPI = z.enforcer, z.asks, z.folder != nil
}

// asks are what is asked about each route, which has been checked.
func asks(c *config.Config) *authz.Asks {
	return authz.CompileAll(c.Routes, func(r *route.Route, method string) *authz.Ask {
		asked, ok := c.Asked(r, method)
		if !ok {
			return nil
		}
		return asked.Ask
	})
}

// openAuthorizing makes the decision point ready. One at an address is asked when it
// is needed; policies in a folder have to be good, or the start is refused.
func (a *app) openAuthorizing(c *config.Config) error {
	if !c.PDP.Configured() {
		return nil
	}
	z := &authorizing{asks: asks(c)}
	var point authz.PDP
	if c.PDP.Embedded() {
		folder, err := openPolicies(c)
		if err != nil {
			return err
		}
		a.log.Info("policies in use", "policies", folder.Policies())
		for _, note := range policyNotes(c, folder) {
			a.log.Warn("configuration: " + note.Error())
		}
		z.folder, point = folder, folder
		if loose := cedar.WritableByOthers(c.PDP.Policies); len(loose) > 0 {
			a.log.Warn("everybody on this machine can write policies, and so decide who may do what; take the right to write from others", "paths", loose)
		}
		a.resources.metrics.WatchesPolicies()
	} else {
		remote, err := newRemotePoint(a, c)
		if err != nil {
			return fmt.Errorf("pdp.yaml: %w", err)
		}
		z.remote, point = remote, remote
		a.resources.close = append(a.resources.close, func() error { remote.transport.CloseIdleConnections(); return nil })
	}
	var err error
	z.enforcer, err = authz.NewEnforcer(authz.Options{
		PDP: point, Subject: c.PDP.SubjectID, SubjectType: c.PDP.SubjectType,
		TTLAllow: c.PDP.Cache.TTLAllow, TTLDeny: c.PDP.Cache.TTLDeny, MaxSize: c.PDP.Cache.MaxSize,
		Deadline: c.PDP.Connection.Timeout, Local: c.PDP.Embedded(),
	})
	if err != nil {
		return err
	}
	a.resources.close = append(a.resources.close, func() error { z.enforcer.Close(); return nil })
	a.resources.authorizing = z
	for _, r := range c.Routes.Routes() {
		for _, method := range r.EffectiveMethods() {
			if ask := z.asks.Of(r, method); ask != nil {
				a.resources.metrics.Decides(ask.Resource(), ask.Action())
			}
		}
	}
	return nil
}

// rights are where roles and permissions of users are who sign in.
func rights(c *config.Config) gateway.Rights {
	m := c.Rights()
	return gateway.Rights{Roles: claimsOf(m.Roles), Permissions: claimsOf(m.Permissions)}
}

// asksPDP reports whether any route wants decisions.
func asksPDP(c *config.Config) bool {
	if c.Routes == nil {
		return false
	}
	for _, r := range c.Routes.Routes() {
		if r.Authz == route.AuthzPDP {
			return true
		}
	}
	return false
}

const (
	// policiesEvery is how often the folder of policies is looked at.
	policiesEvery = time.Second
	// switchedOffEvery is how often is said that nobody is asked.
	switchedOffEvery = time.Hour
	switchedOff      = "checks by the policy decision point are switched OFF (MS_BFF_AUTHZ_ENABLED=false): every signed-in user may do everything that a route offers"
)

// watchPolicies looks at the folder until ctx ends. What was good before stays in use
// on trouble, which is told once for each state of the folder.
func (a *app) watchPolicies(ctx context.Context) {
	z := a.resources.authorizing
	if z == nil || z.folder == nil {
		<-ctx.Done()
		return
	}
	look := time.NewTicker(policiesEvery)
	defer look.Stop()
	var trouble policiesTrouble
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		a.lookAtPolicies(z, &trouble)
	}
}

// policiesTrouble is what is told about a folder that can't be used.
type policiesTrouble struct {
	unread  string // why it could not be read at all, the last time: that is told once
	refused bool   // what it is can't be used
}

// lookAtPolicies looks once.
func (a *app) lookAtPolicies(z *authorizing, trouble *policiesTrouble) {
	changed, err := z.folder.Reload()
	if wrong, ok := errors.AsType[*cedar.Error](err); ok {
		a.resources.metrics.PoliciesReloaded(telemetry.PoliciesRefused)
		a.log.Error("the policies were changed and can't be used; those before stay in use", "folder", wrong.Folder, "problems", wrong.Problems)
		*trouble = policiesTrouble{refused: true}
		return
	}
	if err != nil {
		if trouble.unread != err.Error() {
			a.resources.metrics.PoliciesReloaded(telemetry.PoliciesRefused)
			a.log.Error("the policies can't be read; those that were read last stay in use", "error", err.Error())
		}
		trouble.unread = err.Error()
		return
	}
	wasUnread := trouble.unread != ""
	trouble.unread = ""
	switch {
	case changed:
		if wasUnread || trouble.refused {
			a.log.Info(PoliciesUsableAgain, "folder", a.config.PDP.Policies)
		}
		trouble.refused = false
		a.resources.metrics.PoliciesReloaded(telemetry.PoliciesTaken)
		a.log.Info("policies in use", "policies", z.folder.Policies())
		for _, note := range policyNotes(a.config, z.folder) {
			a.log.Warn("configuration: " + note.Error())
		}
		a.forgetDecisions()
	case wasUnread && !trouble.refused:
		a.log.Info(PoliciesReadableAgain, "folder", a.config.PDP.Policies)
	}
}

// What the log says when trouble with the policies is over.
const (
	PoliciesUsableAgain   = "the policies can be used again"
	PoliciesReadableAgain = "the policies can be read again, and are those in use"
)

// forgetDecisions has everything decided anew.
func (a *app) forgetDecisions() {
	if z := a.resources.authorizing; z != nil {
		z.enforcer.Forget()
	}
}

// remindSwitchedOff says at the start, and every hour, that nobody is asked.
func (a *app) remindSwitchedOff(ctx context.Context) {
	if a.config.Authz.Enabled || !asksPDP(a.config) {
		<-ctx.Done()
		return
	}
	every := time.NewTicker(switchedOffEvery)
	defer every.Stop()
	for {
		a.log.Warn(switchedOff)
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// tracedTransport has a span for each request that is part of a trace, and tells the
// other side of it.
type tracedTransport struct {
	base http.RoundTripper
	name string
}

// RoundTrip implements http.RoundTripper.
func (t tracedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := trace.Client(r.Context(), t.name)
	if !span.On() {
		return t.base.RoundTrip(r)
	}
	defer span.End()
	r = r.Clone(ctx) // a RoundTripper may not change what it is given
	span.Text("http.request.method", r.Method)
	span.Text("server.address", r.URL.Hostname())
	span.Inject(r.Header)
	response, err := t.base.RoundTrip(r)
	if err != nil {
		span.Fail("unavailable")
		return nil, err
	}
	span.Status(response.StatusCode)
	if response.StatusCode >= http.StatusBadRequest {
		span.Fail(http.StatusText(response.StatusCode))
	}
	return response, nil
}

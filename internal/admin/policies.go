package admin

import (
	"context"
	"net/http"

	"keyway/internal/problem"
)

// Policies is who remembers decisions. It is safe for concurrent use.
type Policies interface {
	// Changed has every replica forget what was decided under policies that are not in
	// force any more: here at once, elsewhere within a second. An error says that others
	// could not be told; nothing here is remembered then, either.
	Changed(ctx context.Context, by string) error
}

// policiesChanged serves POST /admin/v1/policies/changed.
func (h *Handler) policiesChanged(w http.ResponseWriter, r *http.Request) error {
	if h.policies == nil {
		return fail(http.StatusNotFound, problem.NotFound, "there is no policy decision point whose decisions are remembered")
	}
	// There is nothing to say, so nobody has to say it as JSON. What a browser sends
	// for another site's page has been refused before.
	if r.ContentLength != 0 {
		if err := readBody(w, r, &struct{}{}); err != nil {
			return err
		}
	}
	by := byOf(r)
	if err := h.policies.Changed(r.Context(), by); err != nil {
		return err
	}
	h.log.Info("admin: policies were said to have changed", "by", by)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

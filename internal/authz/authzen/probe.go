package authzen

import (
	"context"
	"encoding/json"
	"errors"

	"keyway/internal/authz"
)

// Probe is harmless: it is about nobody, and nothing is done by its answer. It is asked
// where what users ask should not matter: whether anything is answered at all, and
// whether a credential is taken.
var Probe = authz.Question{
	Subject:  authz.Entity{Type: "service", ID: "keyway"},
	Action:   authz.Action{Name: "verify"},
	Resource: authz.Entity{Type: "keyway", ID: "verify"},
}

// answers reports whether the server answers Probe, whatever it says: it need not know
// what that is about. Options.ProbeHTTP says why another client asks.
func (c *Client) answers() bool {
	alone := *c
	alone.http = withoutRedirects(c.o.ProbeHTTP)
	ctx, cancel := context.WithTimeout(context.Background(), c.o.Timeout)
	defer cancel()
	body, err := json.Marshal(Probe)
	if err != nil {
		return false
	}
	_, err = alone.try(ctx, "evaluation", c.o.Evaluation, body)
	return !errors.Is(err, ErrUnavailable) || errors.Is(err, errFailedAtIt)
}

package storm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"keyway/internal/admin"
	"keyway/internal/rotation"
)

// operator speaks to the admin API of one replica or another.
type operator struct {
	w      *world
	client *http.Client
	mu     sync.Mutex
	asked  map[string]bool // rotations whose outcome is not known yet, by id
}

func newOperator(w *world) *operator {
	return &operator{w: w, client: &http.Client{Timeout: 30 * time.Second}, asked: map[string]bool{}}
}

var errRefused = errors.New("refused")

// call asks one replica.
func (o *operator) call(ctx context.Context, p *replica, method, path string, ask, into any) error {
	var body io.Reader
	if ask != nil {
		text, err := json.Marshal(ask)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.admin+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	from := time.Now()
	resp, err := o.client.Do(req)
	if err != nil {
		return o.excuse(p, from, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return o.excuse(p, from, err)
	case resp.StatusCode == http.StatusConflict:
		return fmt.Errorf("%w: %s", errRefused, oneLine(string(text)))
	case resp.StatusCode >= 300:
		return o.excuse(p, from, fmt.Errorf("%s %s: %s %s", method, path, resp.Status, oneLine(string(text))))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

var errExcused = errors.New("the replica or Redis was away")

// excuse tells failures that are the storm's own doing.
func (o *operator) excuse(p *replica, from time.Time, err error) error {
	now := time.Now()
	if p.wasDown(from, now) || o.w.wasAway(from, now) {
		return fmt.Errorf("%w: %w", errExcused, err)
	}
	return err
}

// rotate asks for rotations, and notes them to be followed.
func (o *operator) rotate(ctx context.Context, p *replica, ask any, what string) {
	var got struct{ Rotations []rotation.Rotation }
	err := o.call(ctx, p, "POST", "/admin/v1/rotations", ask, &got)
	o.note(ctx, p, "rotate "+what, err)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range got.Rotations {
		o.asked[r.ID] = true
	}
}

func (o *operator) rollBack(ctx context.Context, p *replica, secret string) {
	err := o.call(ctx, p, "POST", "/admin/v1/rollbacks", map[string]string{"secret": secret}, nil)
	switch {
	case err == nil:
		o.w.ledger.did("roll-backs by operators")
	case errors.Is(err, errRefused):
		o.w.ledger.did("roll-backs refused, because there was nothing to go back to")
	}
	o.note(ctx, p, "roll back "+secret, err)
}

func (o *operator) note(ctx context.Context, p *replica, what string, err error) {
	switch {
	case err == nil:
		o.w.ledger.event("%s, at replica %s", what, p.name)
	case ctx.Err() != nil:
	case errors.Is(err, errExcused), errors.Is(err, errRefused):
		o.w.ledger.event("%s, at replica %s: %v", what, p.name, err)
	default:
		o.w.ledger.event("%s, at replica %s: FAILED: %v", what, p.name, err)
		o.w.ledger.amiss("an operator asked replica %s to %s: %v", p.name, what, err)
	}
}

// follow looks for the outcomes of what was asked for.
func (o *operator) follow(ctx context.Context) {
	for n := 0; pause(ctx, time.Second); n++ {
		o.outcomes(ctx, o.w.replicas[n%len(o.w.replicas)])
	}
}

// outcomes asks one replica what became of rotations, some at a time.
func (o *operator) outcomes(ctx context.Context, p *replica) {
	query := url.Values{}
	o.mu.Lock()
	for id := range o.asked {
		if query.Add("id", id); len(query["id"]) == 50 {
			break
		}
	}
	o.mu.Unlock()
	if len(query) == 0 || !p.isReady() {
		return
	}
	var got struct{ Rotations []rotation.Rotation }
	if err := o.call(ctx, p, "GET", "/admin/v1/rotations?"+query.Encode(), nil, &got); err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range got.Rotations {
		if r.Outcome != "" && o.asked[r.ID] {
			delete(o.asked, r.ID)
			o.w.ledger.rotated(r.Secret, r.Outcome, r.EndedAt.Sub(r.StartedAt))
		}
	}
}

// active is the version of a secret that is in use, by what a live replica says.
func (o *operator) active(ctx context.Context, secret string) (string, error) {
	for _, p := range o.w.replicas {
		if !p.isReady() {
			continue
		}
		s, err := o.status(ctx, p)
		if err != nil {
			return "", err
		}
		for _, one := range s.Secrets {
			if one.Name == secret {
				return one.Active, nil
			}
		}
	}
	return "", errors.New("nobody could be asked")
}

func (o *operator) status(ctx context.Context, p *replica) (admin.Status, error) {
	var s admin.Status
	err := o.call(ctx, p, "GET", "/admin/v1/status", nil, &s)
	return s, err
}

// converges is how long a fleet that is left alone may take to agree: as long as a
// replica that was killed is waited for, and what an IdP may take.
const converges = 45 * time.Second

// converge waits until nothing is under way any more, and all hold the same.
func (s *storm) converge(ctx context.Context) {
	left := "nobody could be asked"
	for deadline := time.Now().Add(converges); time.Now().Before(deadline); pause(ctx, 500*time.Millisecond) {
		if left = s.unsettled(ctx); left == "" {
			s.ledger.event("all replicas hold the same, and nothing is under way")
			return
		}
	}
	s.ledger.amiss("left alone for %s, the fleet does not come to rest: %s", converges, left)
}

// unsettled is what is still under way, by what any replica says.
func (s *storm) unsettled(ctx context.Context) string {
	active := map[string]string{}
	for _, p := range s.replicas {
		status, err := s.operator.status(ctx, p)
		if err != nil {
			return fmt.Sprintf("replica %s: %v", p.name, err)
		}
		for _, one := range status.Secrets {
			if one.Waiting != "" {
				return fmt.Sprintf("%s waits: %s", one.Name, one.Waiting)
			}
			if was := active[one.Name]; was != "" && was != one.Active {
				return fmt.Sprintf("%s: replicas use %s and %s", one.Name, was, one.Active)
			}
			active[one.Name] = one.Active
		}
		for _, r := range status.Replicas {
			if r.Live && len(r.Lacks) > 0 {
				return fmt.Sprintf("replica %s lacks %s", r.ID, r.Lacks)
			}
		}
	}
	return ""
}

package authz

import (
	"encoding/json"
	"errors"
	"fmt"

	"keyway/internal/jwks"
)

// Bounds of an answer.
const (
	// MaxAnswer is the size of one answer, in bytes.
	MaxAnswer = 64 << 10
	// MaxBatch is how many questions are asked at once.
	MaxBatch    = 50
	maxReason   = 200
	maxContext  = 4 << 10
	notBoolean  = "decision: expected true or false"
	wrongAmount = "evaluations: expected %d answers, found %d"
)

// ErrAnswer is an answer that says nothing, or too much.
var ErrAnswer = errors.New("the decision point's answer can't be used")

// rawDecision keeps decision as it came: a string "true" and a number 1 are not
// the boolean, whatever a lenient decoder makes of them.
type rawDecision struct {
	Decision json.RawMessage `json:"decision"`
	Context  json.RawMessage `json:"context"`
}

// ParseDecision reads an access evaluation response (AuthZEN 1.0 section 6.2). A
// member that is there twice, or in another spelling, is an error: the first
// reader might see true, and the second false.
func ParseDecision(body []byte) (Decision, error) {
	var raw rawDecision
	if err := jwks.DecodeObject(body, &raw); err != nil {
		return Decision{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return raw.decision()
}

// ParseDecisions reads an access evaluations response (section 7.2) to n questions.
func ParseDecisions(body []byte, n int) ([]Decision, error) {
	var raw struct {
		Evaluations []rawDecision `json:"evaluations"`
	}
	if err := jwks.DecodeObject(body, &raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if len(raw.Evaluations) != n {
		return nil, fmt.Errorf("%w: "+wrongAmount, ErrAnswer, n, len(raw.Evaluations))
	}
	all := make([]Decision, n)
	for i := range raw.Evaluations {
		var err error
		if all[i], err = raw.Evaluations[i].decision(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (r *rawDecision) decision() (Decision, error) {
	d := Decision{}
	switch string(r.Decision) {
	case "true":
		d.Allow = true
	case "false":
	default:
		return Decision{}, fmt.Errorf("%w: "+notBoolean, ErrAnswer)
	}
	if len(r.Context) == 0 || string(r.Context) == "null" {
		return d, nil
	}
	// A context that is no object decides nothing, but whoever sends one is not
	// understood, and who is not understood has not allowed.
	all := map[string]any{}
	if err := jwks.DecodeObject(r.Context, &all); err != nil {
		return Decision{}, fmt.Errorf("%w: context: %w", ErrAnswer, err)
	}
	if len(r.Context) <= maxContext {
		d.Context = r.Context
	}
	d.Reason = reasonIn(all)
	return d, nil
}

// reasonIn looks where decision points put what they have to say: the examples of
// AuthZEN 1.0 section 5.5.
func reasonIn(all map[string]any) string {
	for _, name := range []string{"reason", "reason_admin", "reason_user"} {
		switch v := all[name].(type) {
		case string:
			return cut(v)
		case map[string]any:
			for _, text := range v {
				if s, ok := text.(string); ok {
					return cut(s)
				}
			}
		}
	}
	return ""
}

// cut keeps what is printable of a text, and not too much.
func cut(s string) string {
	out := make([]rune, 0, min(len(s), maxReason))
	for _, r := range s {
		if len(out) == maxReason {
			break
		}
		if r < 0x20 || r == 0x7f || r == '\uFFFD' {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

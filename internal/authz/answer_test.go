package authz

import (
	"strings"
	"testing"

	"keyway/internal/threat"
)

func TestOnlyTheBooleanTrueAllows(t *testing.T) {
	threat.Covers(t, 48)
	if d, err := ParseDecision([]byte(`{"decision":true,"context":{"reason":"owner","x":[1]}}`)); err != nil || !d.Allow || d.Reason != "owner" || string(d.Context) != `{"reason":"owner","x":[1]}` {
		t.Errorf("got %+v, %v", d, err)
	}
	for body, why := range map[string]string{
		`{"decision":false,"context":{"reason_admin":{"en":"no\nway"}}}`: "no way", `{"decision":false}`: "", `{"decision":false,"context":null}`: "",
	} {
		if d, err := ParseDecision([]byte(body)); err != nil || d.Allow || d.Reason != why {
			t.Errorf("%s: got %+v, %v", body, d, err)
		}
	}
	for _, body := range []string{
		``, `null`, `true`, `[]`, `[true]`, `{}`, `{"decision":null}`, `{"decision":"true"}`, `{"decision":1}`, `{"decision":[true]}`, `{"decision":{"decision":true}}`,
		`{"decision":false,"decision":true}`, `{"decision":true,"decision":false}`, `{"Decision":true}`, `{"DECISION":true}`, `{"allow":true}`, `{"result":true}`,
		`{"decision":true}{"decision":false}`, `{"decision":true,}`, `{"decision":true`, `<html>`, "{\"decision\":true,\"x\":\"\xff\"}", `{"decision":true,"context":"obligation"}`,
		`{"decision":true,"context":{"a":1,"a":2}}`, `{"decision": TRUE}`, strings.Repeat(`{"a":`, 5000),
	} {
		if d, err := ParseDecision([]byte(body)); err == nil || d.Allow {
			t.Errorf("%.80s: got %+v, %v", body, d, err)
		}
	}
}

func TestAnswersToSeveralQuestions(t *testing.T) {
	threat.Covers(t, 48)
	all, err := ParseDecisions([]byte(`{"evaluations":[{"decision":true},{"decision":false}]}`), 2)
	if err != nil || !all[0].Allow || all[1].Allow {
		t.Errorf("got %+v, %v", all, err)
	}
	for _, body := range []string{
		`{"evaluations":[{"decision":true}]}`, `{"evaluations":[{"decision":true},{"decision":true},{"decision":true}]}`, `{"evaluations":[{"decision":true},{}]}`,
		`{"evaluations":[{"decision":true},null]}`, `{"decision":true}`, `{"evaluations":{"0":{"decision":true}}}`, `{"evaluations":[{"decision":true},{"decision":"true"}]}`,
		`{"evaluations":[],"evaluations":[{"decision":true},{"decision":true}]}`,
	} {
		if all, err := ParseDecisions([]byte(body), 2); err == nil {
			t.Errorf("%s: got %+v", body, all)
		}
	}
}

func FuzzDecision(f *testing.F) {
	for _, s := range []string{`{"decision":true}`, `{"decision":false,"context":{}}`, `{"decision":"true"}`, `{"decision":true,"decision":false}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := ParseDecision(body)
		if err != nil && d.Allow {
			t.Fatal("an error, and an allow")
		}
		if d.Allow && (strings.Count(string(body), "true") == 0 || len(d.Reason) > 4*maxReason) {
			t.Fatalf("allowed by %q", body)
		}
	})
}

package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"keyway/internal/threat"
)

func TestResponseShowsTheKindAndNotTheCause(t *testing.T) {
	threat.Covers(t, 23, 24)
	cause := errors.New("dial tcp 10.1.2.3:6379: password hunter2 refused")
	err := fmt.Errorf("looking the session up: %w", New(StoreUnavailable, cause))
	w := httptest.NewRecorder()
	Write(w, "c0ffee", err)
	if w.Code != 503 || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Retry-After") == "" {
		t.Errorf("response %d %v", w.Code, w.Header())
	}
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	if body["code"] != "sessions_unavailable" || body["correlation_id"] != "c0ffee" || body["status"] != 503.0 {
		t.Errorf("body is %v", body)
	}
	if strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), "10.1.2.3") {
		t.Errorf("the cause shows: %s", w.Body)
	}
	if !errors.Is(err, cause) {
		t.Error("the log can't find the cause")
	}
}

func TestUnknownErrorsAreInternal(t *testing.T) {
	w := httptest.NewRecorder()
	Write(w, "", errors.New("nil pointer"))
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"internal_error"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	Write(w, "", New("made_up", nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"internal_error"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestEveryKindHasAStatusAndEvery401AChallenge(t *testing.T) {
	for code, k := range kinds {
		if k.status < 400 || k.status > 599 || k.title == "" {
			t.Errorf("%s: %d %q", code, k.status, k.title)
		}
		w := httptest.NewRecorder()
		Write(w, "", New(code, nil))
		if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: challenge %q", code, w.Header().Get("WWW-Authenticate"))
		}
	}
}

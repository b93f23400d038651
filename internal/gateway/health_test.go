package gateway

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var storeErr, idpErr error
		asked := 0
		h := &Health{
			Store: func(context.Context) error { asked++; return storeErr },
			IdP:   func() error { return idpErr },
		}
		ready := func() (int, string) {
			w := httptest.NewRecorder()
			h.Ready(w, httptest.NewRequest("GET", "/health/ready", nil))
			return w.Code, w.Body.String()
		}
		if code, body := ready(); code != 200 || !strings.Contains(body, `"status":"ok"`) {
			t.Errorf("all well: %d %s", code, body)
		}
		for range 1000 {
			ready()
		}
		if asked != 1 {
			t.Errorf("a flood of probes asked the store %d times", asked)
		}

		idpErr = errors.New("dial tcp 10.0.0.1: refused")
		if code, body := ready(); code != 200 || !strings.Contains(body, `"sign_in":"unavailable"`) || strings.Contains(body, "10.0.0.1") {
			t.Errorf("IdP away: %d %s", code, body)
		}

		storeErr = errors.New("redis is away")
		time.Sleep(storeProbeEvery) // the bubble's clock
		if code, body := ready(); code != 503 || !strings.Contains(body, `"sessions":"unavailable"`) || strings.Contains(body, "redis") {
			t.Errorf("store away: %d %s", code, body)
		}

		storeErr = nil
		time.Sleep(storeProbeEvery)
		if code, _ := ready(); code != 200 {
			t.Errorf("store back: %d", code)
		}
		h.Stop()
		if code, body := ready(); code != 503 || !strings.Contains(body, "stopping") {
			t.Errorf("stopping: %d %s", code, body)
		}
		w := httptest.NewRecorder()
		h.Live(w, nil)
		if w.Code != 200 {
			t.Errorf("live while stopping: %d", w.Code)
		}
	})
}

package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// saying keeps who said that policies have changed.
type saying struct {
	by  []string
	err error
}

func (s *saying) Changed(_ context.Context, by string) error {
	s.by = append(s.by, by)
	return s.err
}

func TestPoliciesChanged(t *testing.T) {
	for name, c := range map[string]struct {
		policies *saying
		body     string
		header   map[string]string
		status   int
		told     int
	}{
		"without a body":           {&saying{}, "", nil, http.StatusNoContent, 1},
		"with an empty object":     {&saying{}, "{}", map[string]string{"Content-Type": "application/json"}, http.StatusNoContent, 1},
		"with something else":      {&saying{}, `{"resource":"note"}`, map[string]string{"Content-Type": "application/json"}, http.StatusBadRequest, 0},
		"as a form":                {&saying{}, "a=b", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, http.StatusUnsupportedMediaType, 0},
		"for another site's page":  {&saying{}, "", map[string]string{"Sec-Fetch-Site": "cross-site"}, http.StatusForbidden, 0},
		"the others can't be told": {&saying{err: errors.New("the store is away")}, "", nil, http.StatusServiceUnavailable, 1},
		"nobody decides":           {nil, "", nil, http.StatusNotFound, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Loopback: true}
			if c.policies != nil {
				o.Policies = c.policies
			}
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8001/admin/v1/policies/changed", strings.NewReader(c.body))
			r.RemoteAddr = "127.0.0.1:4711"
			for key, value := range c.header {
				r.Header.Set(key, value)
			}
			w := httptest.NewRecorder()
			New(o).ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("%d %s, want %d", w.Code, w.Body, c.status)
			}
			if c.policies != nil && len(c.policies.by) != c.told {
				t.Errorf("told %d times", len(c.policies.by))
			}
		})
	}
}

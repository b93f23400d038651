package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Both endpoints are asked: with a wrong path for several questions each page would be
// answered 403, and nothing else would show it.
func TestBothEndpointsOfTheDecisionPointAreTried(t *testing.T) {
	pdp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/one":
			_, _ = w.Write([]byte(`{"decision": false}`))
		case "/several":
			_, _ = w.Write([]byte(`{"evaluations": [{"decision": false}, {"decision": false}]}`))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(pdp.Close)
	for _, c := range []struct{ one, several, says string }{
		{"/one", "/several", ""},
		{"/one", "/sevral", "expected status 200, found 404"},
		{"/on", "/several", "expected status 200, found 404"},
	} {
		a := openedWith(t, withPDP(t, env(t, nil), managed, "",
			"connection: {base_url: \""+pdp.URL+"\"}\nendpoints: {evaluation: "+c.one+", evaluations: "+c.several+"}\n"))
		p := a.verifiedPoint()
		err := p.Ask(t.Context())
		if err == nil {
			err = p.AskAll(t.Context())
		}
		if err == nil && c.says != "" || err != nil && (c.says == "" || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

package verify

import (
	"bytes"
	"context"
	"net/http"
	"strings"
)

// adminPaths are what only operators are to reach.
var adminPaths = []string{"/metrics", "/admin/v1/status", "/console/"}

// exposed looks for the admin side at a public origin. A page of an application that
// answers everywhere is not it: the answer has to be one of ours.
func exposed(ctx context.Context, client *http.Client, origin string) finding {
	var open []string
	for _, path := range adminPaths {
		a, err := fetch(ctx, client, http.MethodGet, origin+path)
		if err != nil {
			return unreachable("what serves the public address", origin+path, err)
		}
		if adminTrace(a) {
			open = append(open, path)
		}
	}
	if len(open) > 0 {
		return bad("%s answers as the admin listener does at %s", origin, list(open)).
			because("a proxy or ingress sends "+list(open)+" to the admin listener: strangers see metrics and can try to turn secrets",
				"Take that route away: nothing public may lead to BFF_ADMIN_ADDR.")
	}
	return good("%s lead to nothing of ours", list(adminPaths))
}

// adminTrace recognises an answer of the admin listener, a refusal too.
func adminTrace(a answer) bool {
	if strings.Contains(a.header.Get("WWW-Authenticate"), "keyway-admin") {
		return true
	}
	switch kind := a.mediaType(); kind {
	case "text/plain", "application/openmetrics-text":
		return a.status == http.StatusOK && bytes.Contains(a.body, []byte("# TYPE bff_"))
	case "application/json":
		return a.status == http.StatusOK && bytes.Contains(a.body, []byte(`"secrets":`)) && bytes.Contains(a.body, []byte(`"replicas":`))
	case "application/problem+json":
		// Its guard names what it expects.
		return a.status == http.StatusForbidden && bytes.Contains(bytes.ToLower(a.body), []byte("admin"))
	case "text/html":
		return bytes.Contains(a.body, []byte("<title>Keyway</title>")) || bytes.Contains(a.body, []byte("– Keyway</title>"))
	}
	return false
}

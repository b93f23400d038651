package alerts

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keyway/internal/testkit/ports"
	"keyway/test/e2e"
)

// promised are the metrics that this kind of gateway has always had, with their
// labels, and those that operators were promised beside them.
var promised = map[string]string{
	"http_requests_total":                "method route status",
	"http_request_duration_seconds":      "method route",
	"bff_active_sessions_total":          "",
	"bff_sessions_created_total":         "",
	"bff_sessions_destroyed_total":       "reason",
	"bff_verify_duration_seconds":        "status",
	"bff_oauth_flow_duration_seconds":    "flow_type",
	"bff_session_binding_failures_total": "reason",
	"bff_token_refresh_total":            "service status",
	"bff_token_validation_total":         "status token_type",
	"bff_authz_requests_total":           "action decision resource",
	"bff_authz_latency_seconds":          "resource",
	"bff_authz_questions_total":          "decision",
	"bff_pdp_requests_total":             "endpoint status",
	"bff_policies_reloads_total":         "outcome",
	"bff_authz_events_dropped_total":     "",
	"bff_idp_requests_total":             "endpoint status",
	"bff_csrf_violations_total":          "reason",
	"bff_rate_limited_total":             "kind",
	"bff_secret_version_info":            "secret state version",
	"bff_secret_age_seconds":             "secret",
	"bff_secret_use_total":               "op secret version",
	"bff_rotation_phase":                 "secret",
	"bff_rotations_total":                "outcome secret",
	"bff_jwks_fetches_total":             "client",
	"bff_client_auth_total":              "idp outcome version",

	"bff_secret_due_timestamp_seconds":     "secret",
	"bff_secret_expires_timestamp_seconds": "secret",
	"bff_secret_pending_seconds":           "secret",
	"bff_secret_source_trouble":            "secret why",
	"bff_fleet_replicas":                   "state",
	"bff_replica_lacks":                    "host replica secret",
	"bff_clock_offset_seconds":             "",
	"bff_verify_checks":                    "check ok",
	"bff_audit_appended_total":             "",
	"bff_audit_failed_total":               "",
	"bff_audit_lost_total":                 "",
	"bff_audit_cuts_total":                 "",
	"bff_audit_queue":                      "",
	"bff_audit_delivered_total":            "outcome sink",
}

// notYet are those that come with what they are about.
var notYet = map[string]string{}

// elsewhere are those that a demo in good health does not tell, and which test
// shows them.
var elsewhere = map[string]string{
	"bff_pdp_requests_total":               "internal/app.TestDecisionsAreToldAndCounted",
	"bff_secret_expires_timestamp_seconds": "internal/app.TestMetricsSayWhenAClientSecretEnds",
	"bff_secret_source_trouble":            "internal/app.TestMetricsSayWhichSourceIsInTrouble",
}

var series = regexp.MustCompile(`(?m)^((?:bff|http)_[a-z_]+)(?:\{(.*)\})? \S+$`)

// told is what a demo tells after a little of everything, by name, with labels.
func told(t *testing.T) (byName map[string]string, text string) {
	t.Helper()
	port := ports.Reserve(t, 4)
	p := e2e.Start(t, e2e.Env{"PORT": fmt.Sprint(port), "HOST": "localhost", "BFF_ADMIN_ADDR": fmt.Sprint("127.0.0.1:", port+1)},
		"demo", "--verbose", "--port", fmt.Sprint(port))
	b := e2e.NewBrowser(p.URL)
	b.SignIn(t, "ada", "/")
	want := func(status int, a e2e.Answer) {
		t.Helper()
		if a.StatusCode != status {
			t.Fatalf("%s, want %d: %s", a.Status, status, a.Text)
		}
	}
	want(200, b.Get(t, "/auth/verify"))
	want(200, b.Get(t, "/api/notes"))
	want(403, b.Do(t, "POST", "/api/notes", `{"text":"x"}`, "Content-Type", "application/json"))
	want(401, e2e.NewBrowser(p.URL).Get(t, "/m2m/notes", "Authorization", "Bearer made-up"))
	want(200, b.Get(t, "/.well-known/jwks.json"))
	b.SignOut(t)
	want(200, e2e.NewBrowser(p.AdminURL).Do(t, "POST", "/admin/v1/verify", "{}", "Content-Type", "application/json"))
	text = e2e.NewBrowser(p.AdminURL).Get(t, "/metrics").Text
	byName = map[string]string{}
	for _, m := range series.FindAllStringSubmatch(text, -1) {
		name := m[1]
		if base := base(name); strings.Contains(text, "# TYPE "+base+" histogram") {
			name = base
		}
		var labels []string
		for _, l := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		byName[name] = strings.Join(labels, " ")
	}
	return byName, text
}

// base is the name of a histogram, of one of its series.
func base(name string) string {
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		name = strings.TrimSuffix(name, part)
	}
	return name
}

func TestARunningGatewayTellsEachMetric(t *testing.T) {
	found, text := told(t)
	for name, labels := range promised {
		switch got, is := found[name]; {
		case notYet[name] != "":
			if is {
				t.Errorf("%s is told, and is not a thing of the future any more", name)
			}
		case is && elsewhere[name] != "":
			t.Errorf("%s is told by a demo, too", name)
		case !is && elsewhere[name] == "":
			t.Errorf("%s is not told", name)
		case is && got != labels:
			t.Errorf("%s has the labels %q, want %q", name, got, labels)
		}
	}
	for name := range found {
		if _, is := promised[name]; !is {
			t.Errorf("%s is told, and not listed here", name)
		}
	}
	for _, who := range []string{"ada", "Ada", "Lovelace", "127.0.0.1:", "example.com"} {
		if strings.Contains(text, `"`+who) {
			t.Errorf("a label has %q", who)
		}
	}
	t.Run("what is used of them", func(t *testing.T) {
		for from, exprs := range map[string][]string{"the rules": ruleExprs(t), "the dashboard": dashboardExprs(t)} {
			if len(exprs) < 20 {
				t.Errorf("%s have %d expressions: the form of the file has changed", from, len(exprs))
			}
			for _, expr := range exprs {
				checkExpr(t, from, expr)
			}
		}
	})
	t.Run("the dashboard leaves none out", func(t *testing.T) {
		all := strings.Join(dashboardExprs(t), "\n")
		for _, name := range slices.Sorted(maps.Keys(promised)) {
			if notYet[name] == "" && !strings.Contains(all, name) {
				t.Errorf("%s is on no panel", name)
			}
		}
	})
}

var (
	selector = regexp.MustCompile(`\b((?:bff|http)_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\b(?:by|on|group_left|group_right) \(([^)]*)\)`)
)

// fromPrometheus are labels that no program tells: Prometheus adds them.
var fromPrometheus = []string{"job", "namespace", "instance", "le"}

// checkExpr holds an expression's names and labels against what is promised.
func checkExpr(t *testing.T, from, expr string) {
	t.Helper()
	var known []string
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		labels, is := promised[m[1]]
		if !is {
			labels, is = promised[base(m[1])]
		}
		if !is || notYet[base(m[1])] != "" {
			t.Errorf("%s ask for %s, which nobody tells: %s", from, m[1], expr)
		}
		own := append(strings.Fields(labels), fromPrometheus...)
		known = append(known, own...)
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(own, l[1]) {
				t.Errorf("%s: %s has no label %s: %s", from, m[1], l[1], expr)
			}
		}
	}
	if len(known) == 0 {
		t.Errorf("%s: no metric in %s", from, expr)
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			if label = strings.TrimSpace(label); label != "" && !slices.Contains(known, label) {
				t.Errorf("%s: nothing in it has the label %s: %s", from, label, expr)
			}
		}
	}
}

// What a demo does not tell is shown by tests that there are.
func TestElsewhereIsThere(t *testing.T) {
	for name, test := range elsewhere {
		folder, function, _ := strings.Cut(test, ".")
		if !declares(t, folder, function) {
			t.Errorf("%s: there is no test %s", name, test)
		}
	}
}

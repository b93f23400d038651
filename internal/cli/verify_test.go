package cli

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/admin"
	"keyway/internal/verify"
)

// fakeVerifier has one report, about whatever is asked.
type fakeVerifier struct {
	report verify.Report
	asked  []string
	hangs  bool
}

func (f *fakeVerifier) Verify(ctx context.Context, secrets []string, _ string) (verify.Report, error) {
	f.asked = secrets
	if f.hangs {
		<-ctx.Done()
		return verify.Report{}, ctx.Err()
	}
	return f.report, known(secrets)
}

func (f *fakeVerifier) LastReport() (verify.Report, bool) { return f.report, true }

func verified(t *testing.T, f *fakeVerifier) string {
	t.Helper()
	server := httptest.NewServer(admin.New(admin.Options{Control: newFakeControl(), Verifier: f, Loopback: true}))
	t.Cleanup(server.Close)
	return server.URL
}

func someReport() verify.Report {
	return verify.Report{OK: false, At: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), Replica: "r1", Checks: []verify.Check{
		{ID: "jwks.public", Name: "key set", OK: true, Saw: "2 keys", TookMS: 3},
		{ID: "idp.clock.x", Name: "clock of\x1b[2J x", Saw: "3 min ahead", Cause: "one of the two is wrong", Cure: "Compare them.", TookMS: 12},
		{ID: "a", Name: "b", OK: true, Skipped: true, Saw: "not here"},
	}}
}

func TestVerifyForPeople(t *testing.T) {
	f := &fakeVerifier{report: someReport()}
	code, stdout, stderr := run(t.Context(), verified(t, f), "verify", "--inside")
	want := `✓ jwks.public  key set: 2 keys  3 ms
✗ idp.clock.x  clock of?[2J x: 3 min ahead  12 ms
               cause  one of the two is wrong
               cure   Compare them.
– a            b: not here  0 ms

1 failed, 1 good, 1 left out in `
	if code != exitNotSo || !strings.HasPrefix(stdout, want) || stderr != "" {
		t.Errorf("%d\n%s%s", code, stdout, stderr)
	}
	if strings.Contains(stdout, "waited") {
		t.Errorf("nothing was waited for:\n%s", stdout)
	}
	f.report.WaitedMS = 4900
	if _, stdout, _ := run(t.Context(), verified(t, f), "verify", "--inside"); !strings.Contains(stdout, "\n4.9 s of that waited for another verification") {
		t.Errorf("not told what was waited for:\n%s", stdout)
	}
	f.report.Checks[1].OK, f.report.OK = true, true
	if code, stdout, _ := run(t.Context(), verified(t, f), "verify", "--inside", "session-key"); code != exitOK || !strings.Contains(stdout, "2 good, 1 left out") || len(f.asked) != 1 {
		t.Errorf("%d %v\n%s", code, f.asked, stdout)
	}
}

func TestVerifyForPrograms(t *testing.T) {
	f := &fakeVerifier{report: someReport()}
	path := filepath.Join(t.TempDir(), "verify.xml")
	code, stdout, _ := run(t.Context(), verified(t, f), "verify", "--json", "--junit", path)
	var got struct {
		OK     *bool
		Checks []map[string]any
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitNotSo || got.OK == nil || *got.OK || len(got.Checks) != 3 {
		t.Fatalf("%d %v\n%s", code, err, stdout)
	}
	for _, key := range []string{"id", "name", "ok", "saw", "cause", "cure", "took_ms"} {
		if _, there := got.Checks[0][key]; !there {
			t.Errorf("a check lacks %s", key)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || xml.Unmarshal(text, new(any)) != nil && !strings.Contains(string(text), `failures="1"`) {
		t.Errorf("%v\n%s", err, text)
	}
}

// The address that the gateway tells of is looked at from here, and what is found is
// part of the answer.
func TestVerifyLooksFromOutside(t *testing.T) {
	public := httptest.NewServer(http.NotFoundHandler())
	defer public.Close()
	f := &fakeVerifier{report: verify.Report{OK: true, Checks: []verify.Check{{ID: "store", OK: true}}, Deployment: &verify.Deployment{
		Public: public.URL, Bearer: []verify.Route{{ID: "m", Method: "GET", Path: "/m"}},
	}}}
	for _, args := range [][]string{{}, {"--url", public.URL}} {
		code, stdout, stderr := run(t.Context(), verified(t, f), append([]string{"verify"}, args...)...)
		if code != exitNotSo || !strings.Contains(stdout, "✗ outside.live") || !strings.Contains(stdout, "✗ outside.bearer.m") || !strings.Contains(stdout, "✓ store") {
			t.Errorf("%v: %d\n%s%s", args, code, stdout, stderr)
		}
	}
	f.report.Deployment.Public = ""
	if code, stdout, _ := run(t.Context(), verified(t, f), "verify"); code != exitOK || !strings.Contains(stdout, "no public address is configured") {
		t.Errorf("%d\n%s", code, stdout)
	}
	if code, stdout, _ := run(t.Context(), "http://127.0.0.1:1", "verify", "--outside", "--url", public.URL, "--bearer-route", "POST /x"); code != exitNotSo || !strings.Contains(stdout, "✗ outside.bearer./x") {
		t.Errorf("%d\n%s", code, stdout)
	}
}

func TestVerifyDoesNotWaitForEver(t *testing.T) {
	f := &fakeVerifier{hangs: true}
	if code, _, stderr := run(t.Context(), verified(t, f), "verify", "--timeout", "50ms"); code != exitNotSo || !strings.Contains(stderr, "not done within 50ms; nothing was changed") {
		t.Errorf("%d %s", code, stderr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, stderr := run(ctx, verified(t, f), "verify"); code != exitNotSo || !strings.Contains(stderr, "stopped before all was checked") {
		t.Errorf("%d %s", code, stderr)
	}
}

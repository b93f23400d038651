package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const stream = `{"Action":"output","Package":"keyway/test/conformance","Test":"TestConformance/honest","Output":"    conformance_test.go:43: conformance {\"did\":\"signed in | home\",\"run\":\"honest\"}\n"}
{"Action":"pass","Package":"keyway/test/conformance","Test":"TestConformance/honest"}
{"Action":"output","Package":"keyway/test/conformance","Test":"TestConformance/signature-none","Output":"    conformance_test.go:43: conformance {\"did\":\"signed in\",\"run\":\"signature-none\"}\n"}
{"Action":"fail","Package":"keyway/test/conformance","Test":"TestConformance/signature-none"}
{"Action":"output","Package":"keyway/internal/oidc","Test":"TestJARM/iss","Output":"    a_test.go:3: threat 10\n"}
{"Action":"pass","Package":"keyway/internal/oidc","Test":"TestJARM/iss"}
{"Action":"output","Package":"keyway/internal/oidc","Test":"TestDPoP","Output":"    a_test.go:3: threat 21\n"}
{"Action":"fail","Package":"keyway/internal/oidc","Test":"TestDPoP"}
`

func TestTheTableSaysWhatTheRunHasShown(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "test.json"), filepath.Join(dir, "conformance.md")
	if err := run(from, to, false); err == nil || !strings.Contains(err.Error(), "make unit") {
		t.Errorf("no run yet: %v, want what to do", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(stream)
	if err := run(from, to, true); err == nil {
		t.Error("no table, and no complaint")
	}
	if err := run(from, to, false); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `oidcc-client-test` | Says the truth. | signed in, and the API gets the access token | signed in \\| home | passes |",
		"| `oidcc-client-test-idtoken-sig-none` | Does not sign the ID token: alg none. | refused, and neither UserInfo nor the API is called | signed in | fails |",
		"| `oidcc-client-test-invalid-iss` | Names another issuer in the ID token. | refused, and neither UserInfo nor the API is called |  | open |",
		"ensure-jarm-without-iss-fails` |  | threat 10 | the tests that [threats](threats.md) names for it | passes |",
		"rs-dpop-auth-scheme-case-insensitivity` |  | threat 21 | the tests that [threats](threats.md) names for it | fails |",
		"| `oidcc-client-test-session-management` |  |",
		"&lt;script>",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the table lacks %q", want)
		}
	}
	if err := run(from, to, true); err != nil {
		t.Errorf("the table just made is refused: %v", err)
	}
	write(strings.ReplaceAll(stream, `"fail"`, `"pass"`))
	if err := run(from, to, true); err == nil || !strings.Contains(err.Error(), "make conformance") {
		t.Errorf("a stale table: %v, want what to run", err)
	}
}

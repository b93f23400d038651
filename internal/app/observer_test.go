package app

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"keyway/internal/oidc"
	"keyway/internal/telemetry"
)

// What changes is told, once; what stays, however often it is seen, is not.
func TestChangesOfTheProvidersMetadataAreTold(t *testing.T) {
	away := fmt.Errorf("%w: connection refused", oidc.ErrUnavailable)
	other := fmt.Errorf("%w: another", oidc.ErrIssuerMismatch)
	bad := errors.New("no token endpoint")
	for name, tc := range map[string]struct {
		outcomes []error
		want     []string
	}{
		"good all the time":          {[]error{nil, nil, nil}, nil},
		"away at the start":          {[]error{away, away}, nil}, // the start says so
		"away at the start, then up": {[]error{away, away, nil, nil}, []string{"INF"}},
		"away for a while":           {[]error{nil, away, away, nil}, []string{"WRN", "INF"}},
		"another issuer":             {[]error{nil, other, other, nil}, []string{"ERR", "INF"}},
		"from bad to worse":          {[]error{nil, away, bad, other}, []string{"WRN", "ERR", "ERR"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := telemetry.NewLogger(&out, "text", "debug")
			if err != nil {
				t.Fatal(err)
			}
			d := &discovery{log: log, issuer: "https://idp.example"}
			for _, err := range tc.outcomes {
				d.told(err)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if out.Len() == 0 {
				lines = nil
			}
			if len(lines) != len(tc.want) {
				t.Fatalf("want %v, got\n%s", tc.want, out.String())
			}
			for i, level := range tc.want {
				if !strings.Contains(lines[i], level) || !strings.Contains(lines[i], "https://idp.example") {
					t.Errorf("want %s, got %s", level, lines[i])
				}
			}
		})
	}
}

package demo

import (
	"testing"

	"keyway/internal/config"
)

// The demo's configuration is an example that people copy: it must be one that
// the gateway takes without a word.
func TestConfigurationIsValid(t *testing.T) {
	ports, err := PortsFrom(8000)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadFiles("demo", Files(), ports.Environ(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Notes) > 0 {
		t.Errorf("notes: %v", c.Notes)
	}
	if c.OIDC.Issuer != ports.IssuerURL() {
		t.Errorf("issuer %s, want %s", c.OIDC.Issuer, ports.IssuerURL())
	}
}

func TestPorts(t *testing.T) {
	for _, bad := range []int{0, -1, 65533, 70000} {
		if _, err := PortsFrom(bad); err == nil {
			t.Errorf("port %d accepted", bad)
		}
	}
	if p, err := PortsFrom(65532); err != nil || p.API != 65535 {
		t.Errorf("%+v, %v", p, err)
	}
}

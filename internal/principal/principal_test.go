package principal

import (
	"testing"

	"keyway/internal/threat"
)

func TestAccountCantBeShiftedOrSplit(t *testing.T) {
	threat.Covers(t, 50)
	for _, c := range []struct{ provider, subject, want string }{
		{"demo", "ada", "auth:account:demo:ada"},
		{"auth0", "auth0|5f7c", "auth:account:auth0:auth0|5f7c"},
		{"kc", "f:realm:ada", "auth:account:kc:f:realm:ada"},
		{"a:b", "c", "auth:account:a%3Ab:c"},
		{"demo", "ada\r\nX-User-ID: root", "auth:account:demo:ada%0D%0AX-User-ID:%20root"},
		{"demo", "ådä%0A", "auth:account:demo:%C3%A5d%C3%A4%250A"},
	} {
		if got := (Principal{Provider: c.provider, Subject: c.subject}).Account(); got != c.want {
			t.Errorf("%q, %q: %s, want %s", c.provider, c.subject, got, c.want)
		}
	}
}

package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"keyway/internal/admin"
	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/rotation"
	"keyway/internal/secret"
	"keyway/internal/secret/source"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// fullDisk is where nothing can be written any more.
type fullDisk struct{ rotation.Rings }

func (fullDisk) Update(context.Context, string, func(keyring.Ring) (keyring.Ring, error)) (keyring.Ring, error) {
	return keyring.Ring{}, fmt.Errorf("fleet: saving the ring: %w", syscall.ENOSPC)
}

// Asked to rotate everything on a full disk, a gateway with a secret that only a
// person can replace does not answer as if something were under way.
func TestRotatingOnAFullDiskIsAnError(t *testing.T) {
	threat.Covers(t, 58)
	const clientSecret = "a-client-secret-of-the-test"
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{clientSecret}, GrantTypes: []string{idp.GrantCode}, Scopes: []string{"openid"},
		RedirectURIs: []string{"http://127.0.0.1:1/auth/callback"},
	}}})
	a, err := opened(t, env(t, map[string]string{
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": clientSecret, "BFF_COOKIE_SECURE": "false",
		"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback",
	}))
	if err != nil {
		t.Fatal(err)
	}
	a.runner, err = rotation.NewRunner(rotation.Options{
		Rings: fullDisk{vaultRings{a.vault}}, Journal: fleet.NewJournal(a.board), Fleet: a.side, Secrets: a.turning(),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := control{a}.Rotate(t.Context(), admin.Request{All: true, By: "a test"})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("answered %+v, %v", got, err)
	}
}

// A salt that changes all the time must not fill the vault with what opens it: what
// is not taken is not admitted.
func TestASaltThatKeepsChanging(t *testing.T) {
	server := redisserver.Start(t)
	a, err := opened(t, env(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt}))
	if err != nil {
		t.Fatal(err)
	}
	d, _ := find(a.defs, nameTokenHashSalt)
	for n := range 50 {
		value := secret.NewValue([]byte(fmt.Sprintf("%02d-%s", n, strings.Repeat("Hq7Ew2", 10))))
		a.sources.reading(d, source.Reading{Name: d.name, Current: secret.Found{Value: value, Origin: "a test"}})
		look(t, a)
	}
	opens, err := a.vault.Unseals(t.Context())
	if err != nil || len(opens) > 36 { // 32 are taken at once
		t.Errorf("%d values open the vault, %v", len(opens), err)
	}
}

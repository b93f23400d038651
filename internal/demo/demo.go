package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"keyway/internal/demo/api"
	"keyway/internal/demo/idp"
	"keyway/internal/demo/spa"
	"keyway/internal/secret"
)

//go:embed config/*.yaml
var configFiles embed.FS

const (
	gatewayClient = "demo-gateway"
	machineClient = "demo-machine"
	machineSecret = "demo-machine-secret-for-loopback-only"
	machineScope  = "notes:read"
	audience      = "demo-api"
)

// Ports are where the demo's parts listen.
type Ports struct{ Gateway, Admin, IdP, API int }

// PortsFrom counts up from the gateway's port, as the documentation says.
func PortsFrom(first int) (Ports, error) {
	if first < 1 || first+3 > 65535 {
		return Ports{}, fmt.Errorf("--port: expected a number from 1 to 65532, the first of four ports in a row, found %d", first)
	}
	return Ports{first, first + 1, first + 2, first + 3}, nil
}

// Files is the gateway's configuration in the demo, by file name.
func Files() map[string][]byte {
	files := map[string][]byte{}
	entries, _ := fs.ReadDir(configFiles, "config")
	for _, entry := range entries {
		files[entry.Name()], _ = configFiles.ReadFile("config/" + entry.Name())
	}
	return files
}

// Environ is what the configuration's variables stand for; dir is a folder for
// keys, sessions and the client secret.
func (p Ports) Environ(dir string) []string {
	return []string{
		"DEMO_PORT=" + strconv.Itoa(p.Gateway),
		"DEMO_ADMIN_PORT=" + strconv.Itoa(p.Admin),
		"DEMO_IDP_PORT=" + strconv.Itoa(p.IdP),
		"DEMO_API_PORT=" + strconv.Itoa(p.API),
		"DEMO_DIR=" + dir,
		"DEMO_ACCOUNT_PASSWORD=demo",
	}
}

// IssuerURL is the demo IdP's issuer.
func (p Ports) IssuerURL() string { return "http://127.0.0.1:" + strconv.Itoa(p.IdP) }

// Peers are the running IdP and API.
type Peers struct {
	Provider     *idp.Provider
	ports        Ports
	servers      []*http.Server
	registration *registration
}

// Start starts the peers on loopback. What they hand to the gateway is put into
// dir. The caller must Close them.
func Start(ctx context.Context, p Ports, dir string) (*Peers, error) {
	provider, err := idp.New(idp.Options{
		Issuer:  p.IssuerURL(),
		Clients: clients(p),
		// A page that was left open over lunch must find itself signed in.
		RefreshTokenLifetime: 24 * time.Hour,
		// Short, so that one sees tokens being renewed.
		AccessTokenLifetime: 2 * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	registration, err := newRegistration(ctx, provider, dir)
	if err != nil {
		return nil, err
	}
	if err := layOutPolicies(PoliciesFolder(dir)); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", api.New(api.Options{Verify: newVerifier(p.IssuerURL()).verify}))
	mux.Handle("/page/", http.StripPrefix("/page", spa.Handler()))

	peers := &Peers{Provider: provider, ports: p, registration: registration}
	err = peers.serve(p.IdP, provider)
	if err == nil {
		err = peers.serve(p.API, mux)
	}
	if err != nil {
		return nil, errors.Join(err, peers.Close())
	}
	return peers, nil
}

func (p *Peers) serve(port int, handler http.Handler) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("127.0.0.1:%d is in use by another process", port)
		}
		return fmt.Errorf("the demo needs the ports %d to %d: %w; choose others with --port", p.ports.Gateway, p.ports.API, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	p.servers = append(p.servers, server)
	go func() { _ = server.Serve(listener) }()
	return nil
}

// Registrars make a new client secret at a peer, which accepts it beside the one
// before; by the secret's name.
func (p *Peers) Registrars() map[string]func(context.Context) (secret.Value, error) {
	return map[string]func(context.Context) (secret.Value, error){"client-secret/demo": p.registration.NewSecret}
}

// Close stops the peers at once.
func (p *Peers) Close() error {
	var all []error
	for _, s := range p.servers {
		all = append(all, s.Close())
	}
	if p.Provider != nil {
		all = append(all, p.Provider.Close())
	}
	return errors.Join(all...)
}

func clients(p Ports) []idp.Client {
	var callbacks, home []string
	for _, host := range []string{"localhost", "127.0.0.1"} {
		origin := "http://" + net.JoinHostPort(host, strconv.Itoa(p.Gateway))
		callbacks = append(callbacks, origin+"/auth/callback")
		home = append(home, origin+"/")
	}
	return []idp.Client{
		{
			ID:                     gatewayClient,
			Name:                   "the Keyway demo",
			AuthMethods:            []string{idp.AuthPrivateKeyJWT},
			JWKSURI:                "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Gateway)) + "/.well-known/jwks.json",
			RedirectURIs:           callbacks,
			PostLogoutRedirectURIs: home,
			BackchannelLogoutURI:   "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Gateway)) + "/auth/backchannel-logout",
			// The last of each is for what it does on behalf of nobody.
			GrantTypes: []string{idp.GrantCode, idp.GrantRefresh, idp.GrantClientCredentials},
			Scopes:     []string{"openid", "profile", "email", "offline_access", machineScope},
			Audiences:  []string{audience},
		},
		{
			ID:          introspectionClient,
			Name:        "the Keyway demo, asking about tokens",
			AuthMethods: []string{idp.AuthSecretBasic},
			GrantTypes:  []string{}, // it asks about tokens, and gets none
		},
		{
			ID:         machineClient,
			Name:       "a machine",
			Secrets:    []string{machineSecret},
			GrantTypes: []string{idp.GrantClientCredentials},
			Scopes:     []string{machineScope},
			Audiences:  []string{audience},
		},
	}
}

// Command idp runs the demo's OpenID Provider by itself, with one client, for
// the tutorial. It is for loopback: its users, passwords and the client's secret
// are written here for everybody to read.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"keyway/internal/demo/idp"
)

func main() {
	port := flag.Int("port", 8002, "`port` to listen on, on 127.0.0.1")
	app := flag.String("app", "http://localhost:8000", "public `URL` of the gateway that may use it")
	flag.Parse()
	if err := run(*port, *app); err != nil {
		log.Fatal(err)
	}
}

func run(port int, app string) error {
	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	provider, err := idp.New(idp.Options{
		Issuer: "http://" + address,
		Clients: []idp.Client{{
			ID:                     "first-app",
			Name:                   "your first app",
			Secrets:                []string{"first-app-secret-for-loopback-only"},
			RedirectURIs:           []string{app + "/auth/callback"},
			PostLogoutRedirectURIs: []string{app + "/"},
		}},
	})
	if err != nil {
		return err
	}
	fmt.Printf("issuer http://%s, client first-app, users ada and grace, password demo\n", address)
	server := &http.Server{Addr: address, Handler: provider, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// Command idp runs the demo's OpenID Provider by itself, with one client, for
// the tutorial. It is for loopback: its users, passwords and the client's secret
// are written here for everybody to read.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"keyway/internal/demo/idp"
)

func main() {
	port := flag.Int("port", 8002, "`port` to listen on, on 127.0.0.1")
	app := flag.String("app", "http://localhost:8000", "public `URL` of the gateway that may use it")
	flag.Parse()
	if err := run(os.Stdout, *port, *app); err != nil {
		log.Fatal(err)
	}
}

// run listens first and then says so: what is said of a port that somebody else has
// would be theirs.
func run(out io.Writer, port int, app string) error {
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
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w; is a demo still running, or another ./idp? End it first, or take another -port", err)
	}
	fmt.Fprintf(out, "issuer http://%s, client first-app, users ada and grace, password demo\n", address)
	server := &http.Server{Handler: provider, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

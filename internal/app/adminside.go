package app

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"keyway/internal/admin"
	"keyway/internal/gateway"
)

// adminAPI is how secrets are seen and turned. Without a token it serves this
// machine only, and nobody when its listener is not on loopback.
func (a *app) adminAPI() (*admin.Handler, error) {
	o := admin.Options{
		Control: control{a}, Verifier: verifier{a}, Sessions: operating{a}, Loopback: isLoopback(a.config.Admin.Addr), Log: a.log,
		SignIn: a.consoleSignIn(), Load: a.load, Charter: a.resources.metrics.Series(), Auditor: a.recorder, Record: a.record,
	}
	if a.resources.authorizing != nil {
		o.Policies = a.policies
	}
	if at := a.config.Admin.PublicURL; at != nil {
		o.PublicURL = at.String()
	}
	if path := a.config.Admin.TokenFile; path != "" {
		token, err := admin.TokenFile(path, a.log)
		if err != nil {
			return nil, err
		}
		o.Token = token
	}
	return admin.New(o), nil
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// adminHandler is all of the admin listener. Only probes may come by any name.
func (a *app) adminHandler(health *gateway.Health, api *admin.Handler) http.Handler {
	guarded := http.NewServeMux()
	guarded.Handle("GET /metrics", a.resources.metrics.Handler())
	mux := http.NewServeMux()
	mux.Handle("/", api.Guard(guarded))
	mux.Handle(admin.Prefix, api)
	console := api.Console()
	mux.Handle("/{$}", console)
	mux.Handle("/console/", console)
	probes := http.NewServeMux() // of its own: it knows the paths when the method is wrong
	probes.HandleFunc("GET /health", health.Ready)
	probes.HandleFunc("GET /health/live", health.Live)
	probes.HandleFunc("GET /health/ready", health.Ready)
	for _, path := range []string{"/health", "/health/live", "/health/ready"} {
		mux.Handle(path, probes)
	}
	return mux
}

// newAdminServer bounds what whoever reaches the listener can hold open: files that
// it takes are those that the public listener needs. What takes longer by intent
// sets deadlines of its own.
func newAdminServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

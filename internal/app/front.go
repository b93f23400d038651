package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"keyway/internal/gateway"
	"keyway/internal/session/redis"
)

// front is both listeners. They answer from early on, so that whoever watches the
// process can tell one that waits for its store from one that is not there; and with
// the same servers they serve, once all that serving needs is open.
type front struct {
	public, admin server
	at            Addresses
	failed        chan error
}

// server is an http.Server whose handler can be another one from some moment on.
type server struct {
	*http.Server
	now atomic.Pointer[http.Handler]
}

// hand has requests from now on served by h. Those under way finish where they are.
func (s *server) hand(h http.Handler) { s.now.Store(&h) }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.now.Load()).ServeHTTP(w, r)
}

// listen opens both listeners, which say that this replica is starting. The error is a
// *ListenError.
func (a *app) listen() error {
	c := a.config
	f := &front{failed: make(chan error, 4)}
	f.public.Server = &http.Server{
		Handler:           &f.public,
		ReadHeaderTimeout: c.Server.ReadHeaderTimeout,
		IdleTimeout:       c.Server.IdleTimeout,
		MaxHeaderBytes:    c.Limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		// `OPTIONS *` is answered by the gateway like any other request.
		DisableGeneralOptionsHandler: true,
	}
	f.admin.Server = newAdminServer(&f.admin, a.log)
	starting := gateway.Starting{Health: &gateway.Health{Starting: true, Store: a.storeIsOpen, IdP: a.idpIsAsked}}
	f.public.hand(starting)
	f.admin.hand(starting)

	public, err := listen(c.Server.Host, c.Server.Port)
	if err != nil {
		return err
	}
	public = counting(public, c.Limits.Connections)
	admin, err := net.Listen("tcp", c.Admin.Addr)
	if err != nil {
		closeAll(public)
		return &ListenError{"admin", c.Admin.Addr, err}
	}
	f.at = Addresses{Public: public[0].Addr().String(), Admin: admin.Addr().String()}
	serve(f.public.Server, guarded(public), f.failed)
	serve(f.admin.Server, []net.Listener{admin}, f.failed)
	a.front = f
	return nil
}

// openFront opens the store and the listeners. It comes after what is wrong with the
// configuration and the secrets, and before what may be waited for. A store in a folder
// is there or refuses the start; a Redis may be waited for, and the listeners tell of it.
//
// A listener that can't be opened refuses no start here: serve tries again, and what is
// wrong with the fleet's secrets is said before it.
func (a *app) openFront(ctx context.Context) (board *redis.Board, err error) {
	if a.shared {
		if err := a.listen(); err != nil {
			a.log.Warn("can't listen yet; it is tried again when everything else is there", "error", err.Error())
		}
	}
	if board, err = a.resources.openStore(ctx, a.config); err != nil {
		return nil, err
	}
	a.stored.Store(true)
	if !a.shared {
		_ = a.listen()
	}
	return board, nil
}

// closeFront ends what is left of the listeners and their connections.
func (a *app) closeFront() {
	if a.front != nil {
		_ = a.front.public.Close()
		_ = a.front.admin.Close()
	}
}

var errStarting = errors.New("not open yet")

// storeIsOpen is what readiness asks of the store during the start.
func (a *app) storeIsOpen(context.Context) error {
	if a.stored.Load() {
		return nil
	}
	return errStarting
}

// idpIsAsked is what readiness says of the provider during the start: it may be there,
// and nobody can sign in yet.
func (a *app) idpIsAsked() error { return errStarting }

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

// front is both listeners. They are opened when all that serving needs is there: until
// then a connection is refused, and whoever balances tries the next replica. Only while
// a start waits for its store are they open before, so that whoever watches the process
// can tell that it waits. The same servers serve afterwards.
type front struct {
	public, admin server
	at            Addresses
	failed        chan error
}

// server is an http.Server whose handler is another one from some moment on.
type server struct {
	*http.Server
	now    atomic.Pointer[http.Handler]
	handed chan struct{} // closed once it serves
}

func (s *server) starting(h http.Handler) {
	s.handed = make(chan struct{})
	s.now.Store(&h)
}

// hand has requests from now on served by h. Those under way finish where they are. It
// is called once.
func (s *server) hand(h http.Handler) {
	s.now.Store(&h)
	close(s.handed)
}

// await returns what serves, or nil if ctx ends before.
func (s *server) await(ctx context.Context) http.Handler {
	select {
	case <-s.handed:
		return *s.now.Load()
	case <-ctx.Done():
		return nil
	}
}

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
	health := &gateway.Health{Starting: true, Store: a.storeIsOpen, IdP: a.idpIsAsked}
	f.public.starting(gateway.Starting{Health: health, Current: a.generation, Await: f.public.await})
	f.admin.starting(gateway.Starting{Health: health})

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

// openFront opens the store. It comes after what is wrong with the configuration and the
// secrets, and before what may be waited for. A store in a folder is there or refuses the
// start; a Redis may be waited for, and then the listeners tell of it.
//
// A listener that can't be opened refuses no start here: serve tries again, and what is
// wrong with the fleet's secrets is said before it.
func (a *app) openFront(ctx context.Context) (board *redis.Board, err error) {
	board, err = a.resources.openStore(ctx, a.config, func() {
		if err := a.listen(); err != nil {
			a.log.Warn("can't listen yet; it is tried again when everything else is there", "error", err.Error())
		}
	})
	if err == nil {
		a.stored.Store(true)
	}
	return board, err
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

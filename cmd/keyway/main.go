// Command keyway is a backend for frontend. See keyway --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"keyway/internal/cli"
)

func main() { os.Exit(run()) }

// run is apart from main so that its deferred calls happen before the exit.
func run() int {
	// The first signal asks to stop; stop() then restores the default, so that
	// a second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
}

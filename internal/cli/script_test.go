package cli

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keyway/internal/testkit/ports"
)

var update = flag.Bool("update", false, "write what the stories' cmp found into them")

// A story calls keyway as a shell would: this test's own program, under that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keyway": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := Run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}})
}

// The stories in testdata/script are written as a user would live them, in the
// language of testscript, and with
//
//	exits N COMMAND…   run a command that must end with exit code N
//	free NAME [N]      a port of loopback that nobody listens on, nor on the N-1 after it,
//	                   which are NAME1, …
//	busy NAME          a port of loopback that somebody else listens on
//	ready PORT         wait until the gateway says that it is ready
//	chmod MODE PATH
//	gateway NAME [KIND]  an admin API over a fake fleet, at the URL $NAME; see there
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			// The race detector lets every process linger for a second otherwise.
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			// Strong enough for a start, each another; not secret at all.
			env.Setenv("GOOD_A", "0123456789abcdefghijklmnopqrstuvwxyz-A")
			env.Setenv("GOOD_B", "0123456789abcdefghijklmnopqrstuvwxyz-B")
			env.Setenv("GOOD_C", "0123456789abcdefghijklmnopqrstuvwxyz-C")
			env.Setenv("GOOD_D", "0123456789abcdefghijklmnopqrstuvwxyz-D")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
			"free":  free,
			"busy":  busy,
			"ready": ready,
			"chmod": chmod,

			"gateway": gateway,
		},
	})
}

// arguments ends a story that calls a command wrongly.
func arguments(ts *testscript.TestScript, neg bool, args []string, least, most int, usage string) {
	if neg || len(args) < least || len(args) > most {
		ts.Fatalf("usage: %s", usage)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, 1000, "exits N COMMAND…")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
}

func free(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, 2, "free NAME [N]")
	n := 1
	if len(args) == 2 {
		var err error
		n, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	first, release, err := ports.Row(n)
	ts.Check(err)
	ts.Defer(release)
	ts.Setenv(args[0], strconv.Itoa(first))
	for i := 1; i < n; i++ {
		ts.Setenv(args[0]+strconv.Itoa(i), strconv.Itoa(first+i))
	}
}

func busy(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, 1, "busy NAME")
	l := loopback(ts)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

func loopback(ts *testscript.TestScript) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	return l
}

func ready(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, 1, "ready PORT")
	deadline := time.Now().Add(20 * time.Second)
	for {
		response, err := http.Get("http://127.0.0.1:" + args[0] + "/health/ready")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(response.Status)
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not ready within 20 s: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func chmod(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, 2, "chmod MODE PATH")
	mode, err := strconv.ParseUint(args[0], 8, 12)
	ts.Check(err)
	ts.Check(os.Chmod(ts.MkAbs(args[1]), os.FileMode(mode)))
}

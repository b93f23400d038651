package leakhunt

import (
	"io"
	"os"
	"sync"
	"testing"
)

// Env names the folder to write to.
const Env = "KEYWAY_LEAKHUNT"

// recorder is that of this process; nil when there is nothing to write to. A folder
// that is asked for and can't be had ends the process: tests that seem to be hunted
// and are not would be worse.
var recorder = sync.OnceValue(func() *Recorder {
	dir := os.Getenv(Env)
	if dir == "" {
		return nil
	}
	r, err := Open(dir)
	if err != nil {
		panic("leakhunt: " + Env + ": " + err.Error())
	}
	return r
})

// Enabled says whether anything is written down. Ask before work that only the hunt
// needs.
func Enabled() bool { return recorder() != nil }

// Secret says that a test uses a value that must not be found in any output. What it
// is, is shown when it is found; the value never is.
func Secret(t testing.TB, what, value string) {
	if err := recorder().Secret(name(t), what, value); err != nil {
		t.Errorf("leakhunt: %v", err)
	}
}

// Output hands over what a gateway has said: where is "log", "metrics", "admin",
// "audit" or "trace".
func Output(t testing.TB, where string, text []byte) {
	if err := recorder().Output(name(t), where, text); err != nil {
		t.Errorf("leakhunt: %v", err)
	}
}

func name(t testing.TB) string {
	if t == nil {
		return ""
	}
	return t.Name()
}

// Written is Output where no test is at hand, as in a log's writer. Each call is to
// hold whole lines: what is cut in two is not found.
func Written(where string, text []byte) {
	if err := recorder().Output("", where, text); err != nil {
		panic("leakhunt: " + err.Error())
	}
}

// Tee is w, and what is written to it is handed over as well.
func Tee(where string, w io.Writer) io.Writer {
	if !Enabled() {
		return w
	}
	return tee{where, w}
}

type tee struct {
	where string
	io.Writer
}

func (t tee) Write(p []byte) (int, error) {
	Written(t.where, p)
	return t.Writer.Write(p)
}

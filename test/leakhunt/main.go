// Command leakhunt looks for every secret that the tests have used in everything
// that gateways have said while they ran, and in the output of go test itself.
//
//	KEYWAY_LEAKHUNT=$PWD/out/leakhunt go test -json ./... >out/test.json
//	go run ./test/leakhunt -dir out/leakhunt -json out/test.json
//
// It looks for them as they are, percent-encoded, in base64, base64url and hex, and
// escaped as in JSON, Go and HTML. It fails if it finds one, and as well if there was
// little to look for or to look through: a hunt without game proves nothing. What it
// prints never holds a secret's value.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	dir := flag.String("dir", "out/leakhunt", "folder that the tests have written to")
	stream := flag.String("json", "", "file with the output of go test -json; none: not looked through")
	floor := floors{}
	flag.IntVar(&floor.secrets, "min-secrets", 8_000, "secrets that there must be at least")
	flag.IntVar(&floor.outputs, "min-outputs", 8_000, "outputs that there must be at least")
	flag.IntVar(&floor.megabytes, "min-mb", 12, "megabytes of output that there must be at least")
	flag.Parse()
	started := time.Now()
	g, err := gather(*dir, *stream)
	if err != nil {
		fmt.Fprintln(os.Stderr, "leakhunt:", err)
		os.Exit(1)
	}
	found := g.hunt()
	if !g.report(os.Stdout, found, floor, time.Since(started)) {
		os.Exit(1)
	}
}

// floors are what there must be at least. The kinds are always asked for.
type floors struct{ secrets, outputs, megabytes int }

// Without one of these a part of the tests has not been written down.
var (
	kindsOfSecrets = []string{"access token", "refresh token", "id token", "code", "code verifier", "state", "client secret", "client assertion", "cookie", "csrf token"}
	kindsOfOutputs = []string{"log", "metrics", "admin", "audit", "trace", "go test"}
)

// maxShown bounds the list of what was found: one leak is often in every line.
const maxShown = 40

// report prints a table, and says whether all is well.
func (g *gathered) report(w io.Writer, found []find, floor floors, took time.Duration) bool {
	fmt.Fprintf(w, "leak hunt: %d secrets (%d kinds), %d outputs, %.1f MB, %.1f s: %d found\n",
		len(g.secrets), len(g.kinds), g.outputCount, float64(g.bytes)/1e6, took.Seconds(), len(found))
	for _, where := range sorted(g.perOutput) {
		fmt.Fprintf(w, "  %-10s %7d outputs %9.1f MB\n", where, g.perOutput[where].count, float64(g.perOutput[where].bytes)/1e6)
	}
	var missing []string
	for _, kind := range kindsOfSecrets {
		if g.kinds[kind] == 0 {
			missing = append(missing, "a secret of the kind "+kind)
		}
	}
	for _, kind := range kindsOfOutputs {
		if g.perOutput[kind].count == 0 && (kind != "go test" || g.streamed) {
			missing = append(missing, "an output of the kind "+kind)
		}
	}
	ok := len(found) == 0
	for i, f := range found {
		if i == maxShown {
			fmt.Fprintf(w, "  … and %d more\n", len(found)-i)
			break
		}
		fmt.Fprintf(w, "FOUND %s%s, %s, in %s%s: %s\n", f.what, of(f.usedBy), f.form, f.where, of(f.test), f.around)
	}
	if len(missing) > 0 {
		ok = false
		fmt.Fprintf(w, "too little to hunt: expected %s, found none\n", strings.Join(missing, ", "))
	}
	if len(g.secrets) < floor.secrets || g.outputCount < floor.outputs || g.bytes < floor.megabytes*1_000_000 {
		ok = false
		fmt.Fprintf(w, "too little to hunt: expected at least %d secrets, %d outputs and %d MB; were they written down by all tests?\n",
			floor.secrets, floor.outputs, floor.megabytes)
	}
	return ok
}

func of(test string) string {
	if test == "" {
		return ""
	}
	return " of " + test
}

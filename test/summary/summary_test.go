package main

import (
	"bufio"
	"errors"
	"strings"
	"testing"
)

func summarize(t *testing.T, stream string, noSkips bool, runErr error) (string, bool) {
	t.Helper()
	var b strings.Builder
	s := newSummary(bufio.NewWriter(&b))
	if err := s.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	ok := s.finish(noSkips, runErr)
	return b.String(), ok
}

const passing = `{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":1.5}
{"Action":"skip","Package":"q","Elapsed":0}
`

func TestSummary(t *testing.T) {
	errExit := errors.New("exit status 1")
	for _, tc := range []struct {
		name     string
		stream   string
		noSkips  bool
		runErr   error
		ok       bool
		want     []string
		unwanted string
	}{
		{name: "all pass", stream: passing, ok: true,
			want: []string{"ok    p ", "\n1 passed, 0 failed, 0 skipped\n"}, unwanted: "chatter"},
		{name: "a failure is shown in full, a pass is not", runErr: errExit,
			stream: `{"Action":"output","Package":"p","Test":"TestA/sub","Output":"    a.go:1: wanted 1\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestA/sub"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`,
			want: []string{"FAIL  p ", "wanted 1", "\n1 passed, 2 failed, 0 skipped\n"}, unwanted: "chatter"},
		{name: "a package that does not build counts as a failure", runErr: errExit,
			stream: `{"ImportPath":"p","Action":"build-output","Output":"p/a.go:3: undefined: x\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}
`,
			want: []string{"undefined: x", "build failed", "\n0 passed, 1 failed, 0 skipped\n"}},
		{name: "a panic shows which test had not ended", runErr: errExit,
			stream: `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: boom\n"}
{"Action":"fail","Package":"p"}
`,
			want: []string{"TestA had not ended", "panic: boom", "0 passed, 1 failed"}},
		{name: "skips are named, and pass where parts are optional", ok: true,
			stream: `{"Action":"output","Package":"p","Test":"TestR","Output":"=== RUN   TestR\n"}
{"Action":"output","Package":"p","Test":"TestR","Output":"    r.go:9: left out, no redis-server here\n"}
{"Action":"skip","Package":"p","Test":"TestR"}
` + passing,
			want: []string{"left out: p TestR: r.go:9: left out, no redis-server here", "1 passed, 0 failed, 1 skipped"}},
		{name: "skips fail where parts are required", noSkips: true,
			stream: `{"Action":"skip","Package":"p","Test":"TestR"}` + "\n" + passing,
			want:   []string{"KEYWAY_REQUIRE_PARTS", "1 skipped"}},
		{name: "nothing run is no success", stream: "", want: []string{"no test has run"}},
		{name: "go test failing by itself is no success", stream: passing, runErr: errExit, want: []string{"exit status 1"}},
		{name: "what is not of the stream is shown", stream: "go: cannot find module\n" + passing, ok: true, want: []string{"cannot find module"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, ok := summarize(t, tc.stream, tc.noSkips, tc.runErr)
			if ok != tc.ok {
				t.Errorf("ok = %v, want %v", ok, tc.ok)
			}
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					t.Errorf("output lacks %q:\n%s", want, out)
				}
			}
			if tc.unwanted != "" && strings.Contains(out, tc.unwanted) {
				t.Errorf("output has %q:\n%s", tc.unwanted, out)
			}
		})
	}
}

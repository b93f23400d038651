package cli

import "testing"

func TestTyped(t *testing.T) {
	for argv0, want := range map[string]string{
		"keyway":                                    "keyway",
		"./out/keyway":                              "./out/keyway",
		"/tmp/go-build315/b001/exe/keyway":          "go run ./cmd/keyway",
		"/home/a/.cache/go-build/ab/cd-d/keyway":    "go run ./cmd/keyway",
		"/var/folders/x/go-build12/b001/exe/keyway": "go run ./cmd/keyway",
	} {
		if got := typed(argv0); got != want {
			t.Errorf("%s: expected %s, found %s", argv0, want, got)
		}
	}
}

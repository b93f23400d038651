package cli

import (
	"strings"
	"testing"
)

func TestOnlyKeepsWhatIsWanted(t *testing.T) {
	got := only(`--- # settings
store:
  redis_url: x

  # far: away
"signing_key":
    algorithm: ES256
rotation:
  guard: 5m
  secrets:
    csrf-key:
      every: 1h
    signing-key:
      every: 2h
  auto: true
signing_keys: {}
`, wanted)
	want := `--- # settings




"signing_key":
    algorithm: ES256
rotation:

  secrets:


    signing-key:
      every: 2h
  auto: true

`
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func FuzzOnly(f *testing.F) {
	f.Add("a: 1\nrotation:\n  auto: x\n  secrets: {signing-key: {every: 1h}}\n")
	f.Add("{signing_key: {dir: x}}")
	f.Add("- a\n  b: c\nd")
	f.Fuzz(func(t *testing.T, text string) {
		before, after := strings.Split(text, "\n"), strings.Split(only(text, wanted), "\n")
		if len(before) != len(after) {
			t.Fatalf("%d lines became %d", len(before), len(after))
		}
		for i := range before {
			if after[i] != "" && after[i] != before[i] {
				t.Errorf("line %d was changed", i+1)
			}
		}
	})
}

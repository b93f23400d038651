package lies

import (
	"regexp"
	"testing"

	"keyway/internal/demo/idp"
)

var idForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Every entry says what it does, and prepares a provider without a fault.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range All() {
		t.Run(l.ID, func(t *testing.T) {
			if seen[l.ID] {
				t.Error("the ID is there twice")
			}
			seen[l.ID] = true
			if !idForm.MatchString(l.ID) || l.Says == "" || l.Must == "" || l.Kind == "" || l.Tell == nil {
				t.Errorf("incomplete: %+v", l)
			}
			if l.Says[len(l.Says)-1] != '.' {
				t.Errorf("want one sentence, found %q", l.Says)
			}
			if l.Want.Ended && l.Kind == SignIn {
				t.Error("who is refused is not signed in; Ended is for others")
			}
			p, err := idp.New(idp.Options{Issuer: "http://127.0.0.1:1", Clients: []idp.Client{{ID: "rp", Secrets: []string{"secret"}}}})
			if err != nil {
				t.Fatal(err)
			}
			if h := l.Tell(Stage{Provider: p, ClientID: "rp", ClientSecret: "secret"}); h == nil {
				t.Error("no hooks")
			}
		})
	}
	if len(seen) < 150 {
		t.Errorf("want at least 150 entries, found %d", len(seen))
	}
}

// Every module has exactly one of its three states, and what stands for it is there.
func TestPlans(t *testing.T) {
	names := map[string]bool{}
	for _, p := range Plans() {
		if names[p.Name] {
			t.Errorf("%s is there twice", p.Name)
		}
		names[p.Name] = true
		modules := map[string]bool{}
		for _, m := range p.Modules {
			if modules[m.Name] {
				t.Errorf("%s: %s is there twice", p.Name, m.Name)
			}
			modules[m.Name] = true
			states := 0
			for _, is := range []bool{len(m.Lies) > 0, m.Threat > 0, m.Why != ""} {
				if is {
					states++
				}
			}
			if states != 1 {
				t.Errorf("%s: %s: want lies, a threat, or a reason", p.Name, m.Name)
			}
			for _, id := range m.Lies {
				if _, ok := Named(id); !ok {
					t.Errorf("%s: %s: no lie %s", p.Name, m.Name, id)
				}
			}
		}
	}
}

func TestRunsHaveNamesOfTheirOwn(t *testing.T) {
	names := map[string]bool{}
	for _, r := range Runs() {
		if names[r.Name()] {
			t.Errorf("%s is there twice", r.Name())
		}
		names[r.Name()] = true
	}
}

package config

import (
	"strings"
	"testing"
)

func TestRatesThatLeaveSomethingOpen(t *testing.T) {
	for name, c := range map[string]struct{ rates, want string }{
		"defaults":                 {"{}", ""},
		"others":                   {"{sign_in: 10/1m, callback: 10/1m}", ""},
		"the same in another unit": {"{sign_in: 60/1m, callback: 1/1s}", ""},
		"no rate of sign-ins":      {"{sign_in: off}", "limits.rates.sign_in: no rate"},
		"no rate of tokens":        {"{refused_tokens: off}", "limits.rates.refused_tokens: no rate"},
		"no rate of questions":     {"{questions: off}", "limits.rates.questions: no rate"},
		"few questions":            {"{questions: 49/1m}", "limits.rates.questions: 49/1m: one request may ask 50"},
		"enough questions":         {"{questions: 50/1m}", ""},
		"fewer callbacks":          {"{sign_in: 60/1m, callback: 59/1m}", "limits.rates.callback: fewer callbacks (59/1m) than sign-ins (60/1m)"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := LoadFiles("config", map[string][]byte{SettingsFile: []byte("limits: {rates: " + c.rates + "}\n")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var notes []string
			for _, n := range cfg.Notes {
				if strings.HasPrefix(n.Key, "limits.rates") {
					notes = append(notes, n.Error())
				}
			}
			if got := strings.Join(notes, "\n"); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("noted %q, want %q", got, c.want)
			}
		})
	}
}

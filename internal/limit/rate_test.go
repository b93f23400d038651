package limit

import "testing"

func TestRatesAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"30/1m": "30/1m", "1/1s": "1/1s", "600/1h": "600/1h", "5/90s": "5/1m30s", "10/10s": "10/10s", "off": "off", "7/24h": "7/24h", "3/1h30m": "3/1h30m",
	} {
		r, err := ParseRate(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: got %s, %v; want %s", text, r, err, want)
		}
		if again, err := ParseRate(r.String()); err != nil || again != r {
			t.Errorf("%s: read again %v, %v", r, again, err)
		}
	}
	for _, text := range []string{"", "30", "30/", "/1m", "0/1m", "-1/1m", "30/0s", "30/1ms", "30/25h", "1e3/1m", "30/1m/2", "OFF", "9999999/1m", "30 / 1m"} {
		if r, err := ParseRate(text); err == nil {
			t.Errorf("%q was read as %s", text, r)
		}
	}
}

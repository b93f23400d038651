package ringjson_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/keyring/ringjson"
)

// Each field of a version is written and read, but for the value.
func TestVersionsComeBack(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 4, time.UTC)
	want := keyring.Version{
		ID: "abc", State: keyring.Retiring, CreatedAt: at, ActivatedAt: at.Add(1), RetiresAt: at.Add(2),
		Withdrawn: true, Compromised: true, Exposed: true, TakesOver: true, HandedIn: true,
	}
	for i := range reflect.TypeFor[keyring.Version]().NumField() {
		if f := reflect.ValueOf(want).Field(i); f.IsZero() && reflect.TypeFor[keyring.Version]().Field(i).Name != "Value" {
			t.Errorf("%s is not tried", reflect.TypeFor[keyring.Version]().Field(i).Name)
		}
	}
	o := ringjson.Members{"added": []byte(`{"by":"a newer release"}`)}.Object()
	o.PutVersion(want)
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ringjson.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.TakeVersion()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: expected %+v, found %+v", err, want, got)
	}
	if len(m) != 1 || string(m["added"]) != `{"by":"a newer release"}` {
		t.Errorf("left: %s", m)
	}
}

func TestWhatIsWrongIsNotQuoted(t *testing.T) {
	for name, text := range map[string]string{
		"a member twice": `{"id":"hush","id":"hush"}`,
		"a wrong type":   `{"id":{"hush":1}}`,
		"no object":      `"hush"`,
		"torn":           `{"id":"hush`,
		"a newer format": `{"format":2,"id":"hush"}`,
	} {
		m, err := ringjson.Parse([]byte(text))
		if err == nil {
			_, err = m.TakeVersion()
		}
		if err == nil {
			err = m.TakeFormat(1)
		}
		if err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

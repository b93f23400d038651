package principal

import (
	"reflect"
	"testing"
	"time"

	"keyway/internal/threat"
)

func TestAccountCantBeShiftedOrSplit(t *testing.T) {
	threat.Covers(t, 50)
	for _, c := range []struct{ provider, subject, want string }{
		{"demo", "ada", "auth:account:demo:ada"},
		{"auth0", "auth0|5f7c", "auth:account:auth0:auth0|5f7c"},
		{"kc", "f:realm:ada", "auth:account:kc:f:realm:ada"},
		{"a:b", "c", "auth:account:a%3Ab:c"},
		{"demo", "ada\r\nX-User-ID: root", "auth:account:demo:ada%0D%0AX-User-ID:%20root"},
		{"demo", "ådä%0A", "auth:account:demo:%C3%A5d%C3%A4%250A"},
	} {
		if got := (Principal{Provider: c.provider, Subject: c.subject}).Account(); got != c.want {
			t.Errorf("%q, %q: %s, want %s", c.provider, c.subject, got, c.want)
		}
	}
}

// Whoever goes by what was decided before looks whether it is about the same somebody:
// what Equal forgets would not be decided anew.
func TestEqualForgetsNothing(t *testing.T) {
	threat.Covers(t, 49)
	who := func() *Principal {
		return &Principal{
			Provider: "demo", Subject: "s", Email: "e", Name: "n", SessionID: "1", ClientID: "c", AuthTime: time.Unix(1e9, 0),
			Roles: []string{"editor"}, Permissions: []string{"p"}, Scopes: []string{"x"},
		}
	}
	utc := who()
	utc.AuthTime = utc.AuthTime.UTC()
	if !who().Equal(utc) || !new(Principal).Equal(&Principal{Roles: []string{}}) {
		t.Error("the same is not equal")
	}
	fields := reflect.TypeFor[Principal]()
	for i := range fields.NumField() {
		other := who()
		switch f := reflect.ValueOf(other).Elem().Field(i); f.Interface().(type) {
		case string:
			f.SetString("other")
		case []string:
			f.Set(reflect.ValueOf([]string{"other"}))
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(2e9, 0)))
		case bool:
			f.SetBool(true)
		default:
			t.Fatalf("%s is of a kind that this test does not know", fields.Field(i).Name)
		}
		if who().Equal(other) || other.Equal(who()) {
			t.Errorf("equal, though of another %s", fields.Field(i).Name)
		}
	}
}

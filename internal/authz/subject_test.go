package authz

import (
	"testing"
	"time"

	"keyway/internal/principal"
)

func TestWhatSubjectsHaveIsNamed(t *testing.T) {
	who := principal.Principal{
		Provider: "p", Subject: "s", Email: "e", Name: "n", ClientID: "c", AuthTime: time.Unix(1, 0),
		Roles: []string{"r"}, Permissions: []string{"p"}, Scopes: []string{"s"},
	}
	properties := naming{SubjectAccount, SubjectUser}.of(&who).Properties
	for name := range properties {
		if !IsSubjectProperty(name) {
			t.Errorf("%s is none", name)
		}
	}
	if len(properties) != 9 || IsSubjectProperty("nick") {
		t.Errorf("found %d: %v", len(properties), properties)
	}
}

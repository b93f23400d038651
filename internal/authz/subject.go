package authz

import (
	"fmt"

	"keyway/internal/principal"
)

// SubjectForm is what a subject's id is.
type SubjectForm string

// The forms.
const (
	// SubjectAccount is auth:account:<provider>:<sub>, which no two people share.
	SubjectAccount SubjectForm = "account"
	// SubjectSub is the sub as the provider gives it, which is unique at one provider
	// only (OpenID Connect Core section 2).
	SubjectSub SubjectForm = "sub"
)

// ParseSubjectForm reads the name of a form.
func ParseSubjectForm(text string) (SubjectForm, error) {
	switch f := SubjectForm(text); f {
	case SubjectAccount, SubjectSub:
		return f, nil
	}
	return "", fmt.Errorf("expected %s or %s, found %.40q", SubjectAccount, SubjectSub, text)
}

// Types of subjects.
const (
	SubjectUser   = "user"
	SubjectClient = "client" // that acts for itself: its own subject (RFC 9068 section 2.2)
)

// IsSubjectProperty says whether a name is one that only who signed somebody in says
// something by, even where nothing was said.
func IsSubjectProperty(name string) bool {
	switch name {
	case "provider", "sub", "email", "name", "client_id", "roles", "permissions", "scopes", "auth_time":
		return true
	}
	return false
}

// naming is how subjects are called.
type naming struct {
	form     SubjectForm
	userType string
}

// of is a principal in the words of AuthZEN.
func (n naming) of(who *principal.Principal) Entity {
	e := Entity{Type: n.userType, ID: who.Subject, Properties: map[string]any{"provider": who.Provider, "sub": who.Subject}}
	if who.SessionID == "" && who.ClientID == who.Subject {
		e.Type = SubjectClient
	}
	if n.form == SubjectAccount {
		e.ID = who.Account()
	}
	set := func(name, value string) {
		if value != "" {
			e.Properties[name] = value
		}
	}
	set("email", who.Email)
	set("name", who.Name)
	set("client_id", who.ClientID)
	// Always there, so that a policy may ask whether they contain something.
	e.Properties["roles"] = listOf(who.Roles)
	e.Properties["permissions"] = listOf(who.Permissions)
	e.Properties["scopes"] = listOf(who.Scopes)
	if !who.AuthTime.IsZero() {
		e.Properties["auth_time"] = timeText(who.AuthTime)
	}
	return e
}

func listOf(values []string) []string {
	if values == nil {
		return []string{}
	}
	return values
}

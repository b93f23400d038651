package principal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Principal is an authenticated user or machine. It is immutable once built.
type Principal struct {
	Provider  string // alias of the IdP, from idps.yaml
	Subject   string // sub at that IdP
	Email     string // empty when the IdP did not say
	Name      string // display name; empty when the IdP did not say
	SessionID string // the session's public id; empty for bearer tokens
	AuthTime  time.Time
	// Roles and Permissions are what the IdP says that somebody may; permissions are
	// fine-grained. Of more than MaxRights of either the rest is not known, see Whole.
	Roles, Permissions []string
	// RightsLapsed: nobody has been able to say for too long what they are, and so there
	// are none. See Whole.
	RightsLapsed bool
	// ClientID and Scopes are of the access token that was presented: the client
	// that it was issued to, and what it is good for. Empty for sessions, and where
	// the IdP did not say.
	ClientID string
	Scopes   []string
}

// MaxRights bounds the roles of one principal, and the permissions. There is one more
// where there were too many: the rest is left out, and that it was can be seen.
const MaxRights = 512

// Whole is nil if all roles and permissions are known. If they are not, nothing can be
// decided by them: what was left out may be what forbids.
func (p *Principal) Whole() error {
	if p.RightsLapsed {
		return errLapsed
	}
	for _, list := range []struct {
		name string
		n    int
	}{{"roles", len(p.Roles)}, {"permissions", len(p.Permissions)}} {
		if list.n > MaxRights {
			return fmt.Errorf("expected at most %d %s, found more: those that were left out may be what forbids", MaxRights, list.name)
		}
	}
	return nil
}

var errLapsed = errors.New("expected roles and permissions that the provider has confirmed lately, found none: those of before may have been taken away, and others may forbid")

// Equal reports whether two principals are the same in all that there is of them: what
// was decided about one holds of the other.
func (p *Principal) Equal(other *Principal) bool {
	return p.Provider == other.Provider && p.Subject == other.Subject && p.Email == other.Email && p.Name == other.Name &&
		p.SessionID == other.SessionID && p.ClientID == other.ClientID && p.AuthTime.Equal(other.AuthTime) && p.RightsLapsed == other.RightsLapsed &&
		slices.Equal(p.Roles, other.Roles) && slices.Equal(p.Permissions, other.Permissions) && slices.Equal(p.Scopes, other.Scopes)
}

// Account is the identity in the form that upstreams know:
// auth:account:<provider>:<sub>. The subject is last, so a colon in it shifts
// nothing; one in the provider would, and is percent-encoded, as is whatever in
// either is not printable ASCII, so that the result is safe in a header.
func (p Principal) Account() string {
	return "auth:account:" + escape(p.Provider, ':') + ":" + escape(p.Subject, '%')
}

// escape percent-encodes what is not printable ASCII, the percent sign, and also.
func escape(s string, also byte) string {
	first := 0
	for first < len(s) && !mustEscape(s[first], also) {
		first++
	}
	if first == len(s) {
		return s // as nearly always: no copy
	}
	var b strings.Builder
	b.WriteString(s[:first])
	for i := first; i < len(s); i++ {
		if c := s[i]; mustEscape(c, also) {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func mustEscape(c, also byte) bool { return c <= ' ' || c >= 0x7f || c == '%' || c == also }

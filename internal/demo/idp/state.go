package idp

import (
	"crypto/rand"
	"crypto/sha256"
	"time"
)

// state is all that the provider remembers, guarded by Provider.mu. Bearer
// values (codes, tokens, cookies) are keys only as digests.
type state struct {
	pushed   *shelf[*authRequest]  // by request_uri
	signIns  *shelf[*signIn]       // open sign-in pages
	leaving  *shelf[*leaving]      // open sign-out confirmations
	sessions *shelf[*session]      // by cookie
	bySID    *shelf[*session]      // the same, by sid
	codes    *shelf[*code]         //
	access   *shelf[*accessToken]  //
	refresh  *shelf[*refreshToken] //
	jtis     *shelf[struct{}]      // assertions seen, by client and jti
}

func newState(max int) state {
	return state{
		// What a stranger can fill, or what must not be forgotten early,
		// refuses when full; what only signed-in people and clients make drops
		// its oldest.
		pushed:   newShelf[*authRequest](max, false),
		jtis:     newShelf[struct{}](max, false),
		signIns:  newShelf[*signIn](max, false),
		leaving:  newShelf[*leaving](max, false),
		sessions: newShelf[*session](max, true),
		bySID:    newShelf[*session](max, true),
		codes:    newShelf[*code](max, true),
		access:   newShelf[*accessToken](max, true),
		refresh:  newShelf[*refreshToken](max, true),
	}
}

// session is a browser's sign-in here.
type session struct {
	user     *User
	sid      string
	authTime time.Time
	clients  map[string]bool // that got a code for it
	ended    bool
}

// grant is what one sign-in, or one client_credentials request, gave a client.
// Every token points at it: to revoke it is to revoke them all at once.
type grant struct {
	client   string
	user     *User    // nil for a machine
	session  *session // nil for a machine
	scope    []string
	audience []string
	authTime time.Time
	expires  time.Time
	revoked  bool
}

// alive reports whether tokens of g still work. With offline_access they
// outlive the session (OpenID Connect Core, 11).
func (g *grant) alive(now time.Time) bool {
	return !g.revoked && now.Before(g.expires) &&
		(g.session == nil || !g.session.ended || has(g.scope, "offline_access"))
}

type code struct {
	grant   *grant
	request *authRequest
	expires time.Time
	used    bool
}

type accessToken struct {
	grant    *grant
	scope    []string
	audience []string
	jti      string
	jkt      string // empty: bound to no key
	issued   time.Time
	expires  time.Time
	revoked  bool
}

type refreshToken struct {
	grant  *grant
	usedAt time.Time // zero: not yet
}

// random returns 160 bits as 32 characters.
func random() string { return rand.Text() + rand.Text()[:6] }

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return string(sum[:])
}

package admin

import (
	"context"
	"net/http"
	"time"

	"keyway/internal/audit"
	"keyway/internal/telemetry"
	"keyway/internal/verify"
)

// Verifier goes through the checklist from inside. It is safe for concurrent use.
type Verifier interface {
	// Verify goes through it as it is now, or a few seconds later: what was changed
	// before is looked at. No names: what is about every secret. By is who asked, for
	// the record. An error says that it could not be gone through at all;
	// checks that failed are in the report.
	Verify(ctx context.Context, secrets []string, by string) (verify.Report, error)
	// LastReport is what this replica has seen last of each check; false: nothing yet.
	LastReport() (verify.Report, bool)
}

// Auditor reads the record. It is safe for concurrent use.
type Auditor interface {
	// Audit is the part of the chain from the entry with this number on, at most so
	// many entries; 0: the newest ones. The page's head is the end of the whole chain.
	Audit(ctx context.Context, from uint64, most int) (audit.Page, error)
}

// Charter has what this replica has counted. It is safe for concurrent use.
type Charter interface {
	// Points are the seconds after since that are over, oldest first, one for each
	// second, for the last 15 minutes at most.
	Points(since time.Time) []telemetry.Point
}

// Load makes requests for somebody to look at, as `keyway demo` does. It is safe
// for concurrent use.
type Load interface {
	Start() error // nothing when it runs already
	Stop()        // nothing when it does not
	Running() bool
}

// SignIn lets people in through an identity provider. It is safe for concurrent use.
type SignIn interface {
	// Begin answers with a redirect to the provider.
	Begin(w http.ResponseWriter, r *http.Request) error
	// Finish takes the provider's answer, and says who came. Its errors are
	// *[ForbiddenError], *[SignInError], or anything else.
	Finish(w http.ResponseWriter, r *http.Request) (Person, error)
}

// ForbiddenError says that somebody came who may not be here.
type ForbiddenError struct {
	Why, Cure string
}

func (e *ForbiddenError) Error() string { return Sentence(e.Why, e.Cure) }

// SignInError says that a sign-in did not come to an end. Cause holds no value.
type SignInError struct{ Cause error }

func (e *SignInError) Error() string { return "the sign-in did not work: " + e.Cause.Error() }
func (e *SignInError) Unwrap() error { return e.Cause }

// Person is who signed in through an identity provider.
type Person struct {
	Subject string // at the provider: names the person in the record
	Name    string // for people; may be empty
}

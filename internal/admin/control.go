package admin

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"keyway/internal/rotation"
)

// Control is what the API speaks for. It is safe for concurrent use. Its errors
// are *[UnknownSecretError], *[RefusedError], or anything else, which is
// answered with 503 and shown to the operator: no error may hold a value.
type Control interface {
	Status(ctx context.Context) (Status, error)
	// Plan says what a rotation would do, and does nothing. No names: every secret.
	Plan(ctx context.Context, names []string, compromised bool) ([]Plan, error)
	// Rotate starts rotations, or joins those that are under way, and does not wait
	// for them.
	Rotate(ctx context.Context, r Request) ([]rotation.Rotation, error)
	// Rollback brings the previous version of a secret back.
	Rollback(ctx context.Context, secret, by string) (rotation.Rotation, error)
	// Rotations are the records with these ids; those that are not known are left
	// out.
	Rotations(ctx context.Context, ids []string) ([]rotation.Rotation, error)
}

// Request asks for rotations. Either Secrets has names, each once, or All is set.
type Request struct {
	Secrets     []string
	All         bool
	Compromised bool   // no overlap: end the old versions as soon as the new one is in use
	By          string // who asked, for the record
}

// UnknownSecretError says that there is no secret of that name.
type UnknownSecretError struct {
	Name  string
	Known []string // the names that there are
}

func (e *UnknownSecretError) Error() string {
	text := fmt.Sprintf("there is no secret %q", e.Name)
	if len(e.Known) > 0 {
		text += "; expected one of " + strings.Join(e.Known, ", ")
	}
	if near := e.Nearest(); near != "" {
		text += " (did you mean " + near + "?)"
	}
	return text
}

// RefusedError says that something can't be done now, and what would help.
type RefusedError struct {
	Secret string
	Why    string
	Cure   string
}

func (e *RefusedError) Error() string {
	text := e.Why
	if e.Secret != "" {
		text = e.Secret + ": " + text
	}
	return Sentence(text, e.Cure)
}

// Sentence joins what is wrong and what would help, whether or not the latter
// is a sentence of its own.
func Sentence(what, cure string) string {
	switch r, _ := utf8.DecodeRuneInString(cure); {
	case cure == "":
		return what
	case unicode.IsLower(r):
		return what + "; " + cure
	}
	return what + ". " + cure
}

// Status is everything that is known of the secrets and of who holds them.
type Status struct {
	Secrets  []SecretStatus  `json:"secrets"`
	Replicas []ReplicaStatus `json:"replicas"`
	Leader   string          `json:"leader,omitempty"` // id of the replica that moves rings on
	Store    string          `json:"store,omitempty"`  // where rings live, in words
	Notes    []string        `json:"notes"`            // what an operator should know
}

// SecretStatus is one secret.
type SecretStatus struct {
	Name           string             `json:"name"`
	Kind           string             `json:"kind,omitempty"`   // inward, outward
	Source         string             `json:"source,omitempty"` // managed, handed_in
	Active         string             `json:"active"`           // id of the active version
	Versions       []VersionStatus    `json:"versions"`         // newest first
	NextRotationAt *time.Time         `json:"next_rotation_at"` // nil: not by itself
	Waiting        string             `json:"waiting,omitempty"`
	Blocked        []string           `json:"blocked,omitempty"`  // ids of the replicas that hold it up
	Rotation       *rotation.Rotation `json:"rotation,omitempty"` // under way, or the last
	Trouble        string             `json:"trouble,omitempty"`  // with its source
	Operator       string             `json:"operator,omitempty"` // what a person must do
}

// VersionStatus is one version of a secret, without its value.
type VersionStatus struct {
	ID          string     `json:"id"`
	State       string     `json:"state"`
	CreatedAt   *time.Time `json:"created_at"`
	ActivatedAt *time.Time `json:"activated_at"`
	// RetiresAt is when a retiring version ends at the latest; of a retired one,
	// when it ended.
	RetiresAt   *time.Time `json:"retires_at"`
	HandedIn    bool       `json:"handed_in,omitempty"`
	Withdrawn   bool       `json:"withdrawn,omitempty"`
	Compromised bool       `json:"compromised,omitempty"`
	Dependents  *int       `json:"dependents,omitempty"` // what lives and was issued with it; nil: not counted
}

// ReplicaStatus is one replica.
type ReplicaStatus struct {
	ID        string              `json:"id"`
	Host      string              `json:"host,omitempty"`
	Holds     map[string][]string `json:"holds"`  // by secret: ids of the live versions, the active one first
	Issues    map[string]string   `json:"issues"` // by secret: the version that it issues with
	SeenAt    time.Time           `json:"seen_at"`
	StartedAt time.Time           `json:"started_at,omitzero"`
	Live      bool                `json:"live"`
	Lacks     []string            `json:"lacks,omitempty"` // "secret version"
}

// Plan says what rotating a secret would do.
type Plan struct {
	Secret     string     `json:"secret"`
	From       string     `json:"from,omitempty"`
	Steps      []string   `json:"steps"`
	Notices    []string   `json:"notices"` // who will notice
	Blocked    []string   `json:"blocked,omitempty"`
	EarliestAt *time.Time `json:"earliest_at,omitempty"` // when the new version can be in use
	Refused    string     `json:"refused,omitempty"`     // why it would not be done
}

// filled leaves no list or map null, so that a program may read them blindly.
func (s Status) filled() Status {
	s.Secrets, s.Replicas, s.Notes = list(s.Secrets), list(s.Replicas), list(s.Notes)
	for i := range s.Secrets {
		s.Secrets[i].Versions = list(s.Secrets[i].Versions)
	}
	for i, r := range s.Replicas {
		if r.Holds == nil {
			s.Replicas[i].Holds = map[string][]string{}
		}
		if r.Issues == nil {
			s.Replicas[i].Issues = map[string]string{}
		}
	}
	return s
}

func (p Plan) filled() Plan {
	p.Steps, p.Notices = list(p.Steps), list(p.Notices)
	return p
}

// list copies, so that what a Control handed over is not written to.
func list[T any](l []T) []T { return append(make([]T, 0, len(l)), l...) }

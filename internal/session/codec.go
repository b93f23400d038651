package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"keyway/internal/secret"
)

// The plaintext of a sealed record is one byte of format and a JSON document.
// A field that this code does not know was written by a newer replica of the
// same fleet: it is carried along when the record is written again. A change
// that an older replica could not live with takes a new format; what has one is
// not lost but can't be read here, which is "can't know", not "not there".
const recordFormat = 1

// maxRecord bounds a record, in bytes before sealing. Tokens of some IdPs reach
// 10 kB each; a store must not be filled by one user.
const maxRecord = 64 << 10

var (
	errFormat = errors.New("session: the record is in a format that this version does not know")
	// ErrTooLarge says that a record is over 64 KiB.
	ErrTooLarge = errors.New("session: the record is too large to keep")
)

// wire is a Record as it is sealed. Tokens are plain here, and only here.
type wire struct {
	PublicID     string                     `json:"id"`
	Provider     string                     `json:"idp,omitempty"`
	Issuer       string                     `json:"iss,omitempty"`
	Subject      string                     `json:"sub,omitempty"`
	SID          string                     `json:"sid,omitempty"`
	Email        string                     `json:"email,omitempty"`
	Name         string                     `json:"name,omitempty"`
	Roles        []string                   `json:"roles,omitempty"`
	Permissions  []string                   `json:"perms,omitempty"`
	Claims       map[string]json.RawMessage `json:"claims,omitempty"`
	AccessToken  string                     `json:"at,omitempty"`
	AccessExpiry int64                      `json:"at_exp,omitempty"` // this and all times: Unix ms
	RefreshToken string                     `json:"rt,omitempty"`
	IDToken      string                     `json:"idt,omitempty"`
	TokenType    string                     `json:"tt,omitempty"`
	TokenKey     string                     `json:"tk,omitempty"`
	Scope        string                     `json:"scope,omitempty"`
	GrantedAt    int64                      `json:"granted,omitempty"`
	RightsMissed []int64                    `json:"rights_missed,omitempty"` // and the GrantedAt that it is of
	RefreshBy    int64                      `json:"refresh_by,omitempty"`
	AuthTime     int64                      `json:"auth_time,omitempty"`
	IssuedAt     int64                      `json:"iat,omitempty"`
	BegunAt      int64                      `json:"begun,omitempty"`
	CreatedAt    int64                      `json:"created"`
	Absolute     int64                      `json:"abs_exp"`
	Binding      *wireBinding               `json:"bind,omitempty"`
}

type wireBinding struct {
	Version string `json:"v"`
	Bits    int    `json:"bits,omitempty"`
	Prefix  []byte `json:"net,omitempty"`
	UA      []byte `json:"ua,omitempty"`
}

// unknown is the fields of a record that this code does not know.
type unknown map[string]json.RawMessage

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func encode(r Record, more unknown) ([]byte, error) {
	w := wire{
		PublicID: r.PublicID, Provider: r.Provider, Issuer: r.Issuer, Subject: r.Subject, SID: r.SID,
		Email: r.Email, Name: r.Name, Roles: r.Roles, Permissions: r.Permissions, Claims: r.Claims,
		AccessToken: string(r.AccessToken.Reveal()), AccessExpiry: millis(r.AccessExpiry),
		RefreshToken: string(r.RefreshToken.Reveal()), IDToken: string(r.IDToken.Reveal()),
		TokenType: r.TokenType, TokenKey: r.TokenKey, Scope: r.Scope, GrantedAt: millis(r.GrantedAt),
		RefreshBy: millis(r.RefreshBy),
		AuthTime:  millis(r.AuthTime), IssuedAt: millis(r.IssuedAt), BegunAt: millis(r.BegunAt), CreatedAt: millis(r.CreatedAt), Absolute: millis(r.AbsoluteExpiry),
	}
	if !r.RightsMissed.IsZero() {
		w.RightsMissed = []int64{millis(r.RightsMissed), w.GrantedAt}
	}
	if b := r.Binding; b.Version != "" {
		w.Binding = &wireBinding{b.Version, b.PrefixBits, b.PrefixHash, b.UAHash}
	}
	doc, err := json.Marshal(w)
	if err != nil { // a claim that is no JSON; the error must not quote it
		return nil, errors.New("session: a claim is not valid JSON")
	}
	if len(more) > 0 {
		rest, err := json.Marshal(more)
		if err != nil {
			return nil, errors.New("session: an unknown field is not valid JSON")
		}
		doc[len(doc)-1] = ','
		doc = append(doc, rest[1:]...)
	}
	if len(doc) >= maxRecord {
		return nil, ErrTooLarge
	}
	return append([]byte{recordFormat}, doc...), nil
}

func decode(b []byte) (Record, unknown, error) {
	if len(b) == 0 || b[0] != recordFormat {
		return Record{}, nil, errFormat
	}
	var w wire
	var more unknown
	d := json.NewDecoder(bytes.NewReader(b[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		// The rare case gets the slow way: decode again, twice.
		if more, err = unknownFields(b[1:]); err != nil {
			return Record{}, nil, err
		}
		w = wire{}
		if err := json.Unmarshal(b[1:], &w); err != nil {
			return Record{}, nil, fmt.Errorf("%w (%T)", errFormat, err) // the error's text could quote
		}
	}
	r := Record{
		PublicID: w.PublicID, Provider: w.Provider, Issuer: w.Issuer, Subject: w.Subject, SID: w.SID,
		Email: w.Email, Name: w.Name, Roles: w.Roles, Permissions: w.Permissions, Claims: w.Claims,
		AccessToken: token(w.AccessToken), AccessExpiry: fromMillis(w.AccessExpiry),
		RefreshToken: token(w.RefreshToken), IDToken: token(w.IDToken),
		TokenType: w.TokenType, TokenKey: w.TokenKey, Scope: w.Scope, GrantedAt: fromMillis(w.GrantedAt),
		RefreshBy: fromMillis(w.RefreshBy),
		AuthTime:  fromMillis(w.AuthTime), IssuedAt: fromMillis(w.IssuedAt), BegunAt: fromMillis(w.BegunAt),
		CreatedAt: fromMillis(w.CreatedAt), AbsoluteExpiry: fromMillis(w.Absolute),
	}
	// A release that does not know of it carries it along, over a refresh of its own
	// that has learned them.
	if missed := w.RightsMissed; len(missed) == 2 && missed[1] == w.GrantedAt {
		r.RightsMissed = fromMillis(missed[0])
	}
	if b := w.Binding; b != nil && b.Version != "" {
		r.Binding = Binding{b.Version, b.Bits, b.Prefix, b.UA}
	}
	return r, more, nil
}

func token(s string) secret.Value {
	if s == "" {
		return secret.Value{}
	}
	return secret.NewValue([]byte(s))
}

func unknownFields(doc []byte) (unknown, error) {
	var all unknown
	if err := json.Unmarshal(doc, &all); err != nil {
		return nil, fmt.Errorf("%w (%T)", errFormat, err)
	}
	known, err := json.Marshal(wire{ // every field, so that omitempty omits none
		"x", "x", "x", "x", "x", "x", "x", []string{"x"}, []string{"x"}, unknown{"x": json.RawMessage("1")},
		"x", 1, "x", "x", "x", "x", "x", 1, []int64{1}, 1, 1, 1, 1, 1, 1, &wireBinding{},
	})
	if err != nil {
		return nil, err
	}
	var names unknown
	if err := json.Unmarshal(known, &names); err != nil {
		return nil, err
	}
	for name := range names {
		delete(all, name)
	}
	return all, nil
}

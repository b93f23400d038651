package oidc

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/problem"
	"keyway/internal/seal"
)

const (
	// SignInLifetime is how long a sign-in may take, from our redirect to the
	// callback.
	SignInLifetime = 10 * time.Minute
	// replicaSkew is how far another replica's clock may be ahead of ours when it
	// began the sign-in.
	replicaSkew = 5 * time.Minute
	// maxSignIns is how many sign-ins under way one browser keeps: enough for a
	// restored window of tabs, few enough for the Cookie header.
	maxSignIns = 5
)

// Purposes of the two things that a sign-in leaves in the browser.
const (
	statePurpose       = "login state"
	transactionPurpose = "login transaction"
)

// transactionID is random, and known to the provider and to the browser.
type transactionID [16]byte

// String is the form for [OneTime].
func (id transactionID) String() string { return hex.EncodeToString(id[:]) }

// transaction is what the browser keeps for us, sealed, in a cookie of its own.
type transaction struct {
	Verifier    string `json:"v"`
	Nonce       string `json:"n"`
	ReturnTo    string `json:"r"`
	RedirectURI string `json:"u"`
	Issuer      string `json:"i"`
	Created     int64  `json:"c"` // Unix seconds
	// Begun is Created in Unix milliseconds; 0: a release that did not say began it.
	Begun int64 `json:"b,omitempty"`
	// Key is the version of the key that the code is bound to (RFC 9449 section 10);
	// empty: to none. Signed: the response has to be (JARM).
	Key    string `json:"k,omitempty"`
	Signed bool   `json:"s,omitempty"`
}

func (t transaction) begun() time.Time {
	if t.Begun == 0 {
		return time.Time{}
	}
	return time.UnixMilli(t.Begun)
}

// challenge is the PKCE code challenge (RFC 7636 section 4.2).
func (t transaction) challenge() string {
	sum := sha256.Sum256([]byte(t.Verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// randomText is 256 random bits, base64url: a verifier of 43 characters, the
// length that RFC 7636 section 4.1 recommends.
func randomText() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// transactions seals and opens both halves.
type transactions struct {
	state, cookie *seal.Sealer
}

func newTransactions(ring keyring.Ring, meter *seal.Meter) (transactions, error) {
	state, err := seal.NewSealer(ring, statePurpose, meter)
	if err != nil {
		return transactions{}, err
	}
	cookie, err := seal.NewSealer(ring, transactionPurpose, meter)
	if err != nil {
		return transactions{}, err
	}
	return transactions{state: state, cookie: cookie}, nil
}

// sealState makes the state parameter: transaction id and time, so that a
// callback that is too late or not ours is refused before anything is looked up.
func (s transactions) sealState(id transactionID, created int64) string {
	plain := make([]byte, 0, 24)
	plain = append(plain, id[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(created))
	return s.state.SealText(plain, nil)
}

// maxState is well over what sealState makes.
const maxState = 512

func (s transactions) openState(text string, now time.Time) (id transactionID, created int64, err error) {
	if text == "" || len(text) > maxState {
		return id, 0, fail(problem.LoginFailed, ErrState, "missing, or too long")
	}
	plain, err := s.state.OpenText(text, nil)
	if err != nil {
		return id, 0, sealError(text, err)
	}
	if len(plain) != 24 {
		return id, 0, fail(problem.LoginFailed, ErrState, "malformed")
	}
	created = int64(binary.BigEndian.Uint64(plain[16:]))
	return transactionID(plain[:16]), created, checkAge(created, now)
}

func checkAge(created int64, now time.Time) error {
	began := time.Unix(created, 0)
	if now.After(began.Add(SignInLifetime)) || began.After(now.Add(replicaSkew)) {
		return fail(problem.LoginFailed, ErrExpired, "expected within %v", SignInLifetime)
	}
	return nil
}

// sealError is final unless it wraps keyring.ErrUnknownVersion: then reading the
// sources again may help. But anybody can make a version up, so where nobody has
// it the answer is that of any other forgery.
func sealError(text string, err error) error {
	if errors.Is(err, keyring.ErrUnknownVersion) {
		version, _, _ := strings.Cut(text, ".")
		err = &StateVersionError{Version: version, Err: err}
	}
	return problem.New(problem.LoginFailed, fmt.Errorf("%w: %w", ErrState, err))
}

func (s transactions) sealCookie(id transactionID, t transaction) (string, error) {
	plain, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	return s.cookie.SealText(plain, id[:]), nil
}

func (s transactions) openCookie(id transactionID, text string) (transaction, error) {
	var t transaction
	if len(text) > maxLoginCookie {
		return t, fail(problem.LoginFailed, ErrState, "the cookie is too long")
	}
	plain, err := s.cookie.OpenText(text, id[:])
	if err != nil {
		return t, sealError(text, err)
	}
	if err := json.Unmarshal(plain, &t); err != nil {
		return t, fail(problem.LoginFailed, ErrState, "the cookie's content is malformed")
	}
	return t, nil
}

// CookiePolicy is how login cookies are set. They are always HttpOnly,
// SameSite=Lax (the callback is a navigation from another site), for the whole
// host.
type CookiePolicy struct {
	// Secure sets the attribute; without a Domain it also adds the __Host-
	// prefix, so that no sibling host and no http page can plant one.
	Secure bool
	// Domain is normally empty: the host itself only.
	Domain string
}

// maxLoginCookie keeps name, value and attributes under the 4096 bytes that
// every browser takes.
const maxLoginCookie = 3800

func (p CookiePolicy) prefix() string {
	if p.Secure && p.Domain == "" {
		return "__Host-bff_login_"
	}
	return "bff_login_"
}

// name names a transaction's cookie. It begins with the time, so that old ones
// can be told without opening them.
func (p CookiePolicy) name(id transactionID, created int64) string {
	return p.prefix() + fmt.Sprintf("%08x", uint32(created)) + hex.EncodeToString(id[:4])
}

func (p CookiePolicy) cookie(name, value string, maxAge time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", Domain: p.Domain, Secure: p.Secure,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(maxAge / time.Second),
	}
	if maxAge <= 0 {
		c.MaxAge = -1
	}
	return c
}

// Clear is the cookie that removes the named one; the attributes match those it
// was set with, or a browser would keep it.
func (p CookiePolicy) Clear(name string) *http.Cookie { return p.cookie(name, "", 0) }

var loginCookie = regexp.MustCompile(`^(?:__Host-)?bff_login_([0-9a-f]{8})[0-9a-f]{8}$`)

// Surplus picks, from the names of the cookies that a browser sent, the login
// cookies to clear when another is about to be set: those whose sign-in is over,
// and the oldest beyond four.
func (p CookiePolicy) Surplus(names []string, now time.Time) []string {
	var live, surplus []string
	for _, name := range names {
		match := loginCookie.FindStringSubmatch(name)
		if match == nil || !strings.HasPrefix(name, p.prefix()) {
			continue
		}
		created, _ := strconv.ParseUint(match[1], 16, 32)
		if checkAge(int64(created), now) != nil {
			surplus = append(surplus, name)
			continue
		}
		live = append(live, name)
	}
	slices.Sort(live) // by time
	if over := len(live) - (maxSignIns - 1); over > 0 {
		surplus = append(surplus, live[:over]...)
	}
	return surplus
}

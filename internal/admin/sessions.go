package admin

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"keyway/internal/problem"
)

// Sessions finds and ends the sessions of users. It is safe for concurrent use. Its
// errors are answered as those of a [Control]; none may hold a token.
type Sessions interface {
	// List is the sessions that live of whom w names, at most so many, the newest of
	// those found first; more: there are others besides. The zero w: everybody's.
	List(ctx context.Context, w Whose, most int) (found []Session, more bool, err error)
	// End ends the session with that public id, for good and everywhere. By is who
	// asked, for the record. False: there is none.
	End(ctx context.Context, publicID, by string) (bool, error)
	// EndAll ends all of whom w names, and says how many there were. What it ended
	// before it failed stays ended.
	EndAll(ctx context.Context, w Whose, by string) (int, error)
}

// Whose names sessions by what they have in common. Without Issuer it is the one that
// users sign in at.
type Whose struct{ Issuer, Subject, SID string }

// Session is what an operator is shown of one: no token, and nothing of its cookie.
type Session struct {
	PublicID          string    `json:"public_id"`
	Provider          string    `json:"provider"`
	Issuer            string    `json:"issuer"`
	Subject           string    `json:"subject"`
	SID               string    `json:"sid"` // of the session at the issuer; empty: it has none
	Email             string    `json:"email"`
	Name              string    `json:"name"`
	CreatedAt         time.Time `json:"created_at"`
	AuthTime          time.Time `json:"auth_time"`  // when the user signed in at the provider
	ExpiresAt         time.Time `json:"expires_at"` // if nobody uses it any more
	AbsoluteExpiresAt time.Time `json:"absolute_expires_at"`
}

// SessionsAnswer is the answer to GET sessions.
type SessionsAnswer struct {
	Sessions []Session `json:"sessions"`
	More     bool      `json:"more"`
}

// EndedAnswer is the answer to DELETE sessions.
type EndedAnswer struct {
	Ended int `json:"ended"`
}

// Bounds of what is asked about sessions.
const (
	MaxListed     = 1000 // sessions in one answer
	DefaultListed = 100  // unless asked for more
	MaxPublicID   = 128  // bytes
)

const (
	sessionsPrefix = "sessions/"
	sessionID      = "public_id"
	oneSession     = sessionsPrefix + "{" + sessionID + "}"

	// maxPart bounds a part of a Whose, in bytes. A sub has 255 at most (OpenID Connect
	// Core section 2); issuers are URLs.
	maxPart = 2048
)

// whose reads the query, each name at most once. Others that are there are refused:
// one that is misspelt would name more people than were meant.
func whose(r *http.Request, others ...string) (w Whose, query url.Values, err error) {
	if query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return w, nil, badRequest("the query can't be read")
	}
	known := append([]string{"subject", "sid", "issuer"}, others...)
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return w, nil, badRequest("the query: unknown %.50q; expected %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			return w, nil, badRequest("%s: expected it once", name)
		case values[0] == "" || len(values[0]) > maxPart:
			return w, nil, badRequest("%s: expected 1 to %d bytes, found %d", name, maxPart, len(values[0]))
		}
	}
	w = Whose{Issuer: query.Get("issuer"), Subject: query.Get("subject"), SID: query.Get("sid")}
	if w.Issuer != "" && w.Subject == "" && w.SID == "" {
		return w, nil, badRequest("issuer: expected a subject or a sid with it")
	}
	return w, query, nil
}

func (h *Handler) listSessions(w http.ResponseWriter, r *http.Request) error {
	who, query, err := whose(r, "most")
	if err != nil {
		return err
	}
	most := DefaultListed
	if text := query.Get("most"); text != "" {
		if most, err = strconv.Atoi(text); err != nil || most < 1 || most > MaxListed {
			return badRequest("most: expected 1 to %d", MaxListed)
		}
	}
	if h.sessions == nil {
		return absent("list of sessions")
	}
	found, more, err := h.sessions.List(r.Context(), who, most)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, "application/json", SessionsAnswer{list(found), more})
	return nil
}

func (h *Handler) endOneSession(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue(sessionID)
	if id == "" || len(id) > MaxPublicID {
		return badRequest("expected the public id of a session, found %d bytes", len(id))
	}
	if h.sessions == nil {
		return absent("list of sessions")
	}
	by := byOf(r)
	ended, err := h.sessions.End(r.Context(), id, by)
	if err != nil {
		return err
	}
	if !ended {
		return fail(http.StatusNotFound, codeUnknownSession, "no session has the public id %.128q", id).
			cured("It may have ended already; 'keyway sessions list' has those that live.")
	}
	h.log.Info("admin: ended a session", "session", id, "by", by)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) endSessions(w http.ResponseWriter, r *http.Request) error {
	who, _, err := whose(r)
	if err != nil {
		return err
	}
	if who.Subject == "" && who.SID == "" {
		p := fail(http.StatusBadRequest, problem.BadRequest, "expected a subject or a sid: this ends the sessions of one user")
		return p.cured("To end everybody's: keyway rotate token-hash-salt --compromised")
	}
	if h.sessions == nil {
		return absent("list of sessions")
	}
	by := byOf(r)
	ended, err := h.sessions.EndAll(r.Context(), who, by)
	if err != nil {
		return err
	}
	h.log.Info("admin: ended the sessions of a user", "ended", ended, "by", by)
	h.write(w, http.StatusOK, "application/json", EndedAnswer{ended})
	return nil
}

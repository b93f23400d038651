package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"keyway/internal/rotation"
)

const (
	maxPolls  = 32                     // that wait at once, each asking the journal
	maxWait   = 60 * time.Second       // of one request
	pollEvery = 250 * time.Millisecond // how often the journal is asked meanwhile
)

// rotations answers with records. With wait it answers when all have an outcome,
// or after so many seconds; with If-None-Match as well, as soon as anything is
// other than what the client has.
func (h *Handler) rotations(w http.ResponseWriter, r *http.Request) error {
	ids, wait, err := pollQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if wait > 0 {
		select {
		case h.polls <- struct{}{}:
			defer func() { <-h.polls }()
		default:
			return errBusy
		}
		// No longer than what was asked for, whatever the server's own limits are.
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{})
		_ = control.SetWriteDeadline(time.Now().Add(wait + 30*time.Second))
	}
	has := r.Header.Get("If-None-Match")
	found, tag, err := h.watch(r.Context(), ids, wait, has)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", tag)
	if has == tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.write(w, http.StatusOK, "application/json", rotationsAnswer{found})
	return nil
}

func pollQuery(raw string) (ids []string, wait time.Duration, err error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, 0, badRequest("the query can't be read")
	}
	ids = query["id"]
	if len(ids) == 0 || len(ids) > maxNames || slices.ContainsFunc(ids, func(id string) bool { return id == "" || len(id) > 128 }) {
		return nil, 0, badRequest("expected 1 to %d times id=…, of a rotation", maxNames)
	}
	if values := query["wait"]; len(values) > 0 {
		n, err := strconv.Atoi(values[0])
		if err != nil || n < 0 || len(values) > 1 {
			return nil, 0, badRequest("wait: expected seconds, a whole number")
		}
		wait = min(time.Duration(min(n, 3600))*time.Second, maxWait)
	}
	return ids, wait, nil
}

// watch asks until there is something to tell.
func (h *Handler) watch(ctx context.Context, ids []string, wait time.Duration, has string) ([]rotation.Rotation, string, error) {
	until := time.Now().Add(wait)
	for {
		found, err := h.find(ctx, ids)
		if err != nil {
			return nil, "", err
		}
		tag, err := tagOf(found)
		if err != nil {
			return nil, "", err
		}
		over := !slices.ContainsFunc(found, func(r rotation.Rotation) bool { return r.Outcome == "" })
		left := time.Until(until)
		if over || has != "" && has != tag || left <= 0 {
			return found, tag, nil
		}
		select {
		case <-ctx.Done():
			return nil, "", ctx.Err()
		case <-time.After(min(left, pollEvery)):
		}
	}
}

// find gives the records in the order in which they were asked for.
func (h *Handler) find(ctx context.Context, ids []string) ([]rotation.Rotation, error) {
	known, err := h.control.Rotations(ctx, ids)
	if err != nil {
		return nil, err
	}
	found, missing := make([]rotation.Rotation, 0, len(ids)), []string(nil)
	for _, id := range ids {
		i := slices.IndexFunc(known, func(r rotation.Rotation) bool { return r.ID == id })
		if i < 0 {
			missing = append(missing, id)
			continue
		}
		found = append(found, known[i])
	}
	if len(missing) > 0 {
		return nil, fail(http.StatusNotFound, codeUnknownRotation, "no rotation has the id %.200q", strings.Join(missing, " ")).
			cured("Old records are dropped; 'keyway status' has the last one of each secret.")
	}
	return found, nil
}

// tagOf is a strong entity tag (RFC 9110 section 8.8.3).
func tagOf(found []rotation.Rotation) (string, error) {
	body, err := json.Marshal(found)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, nil
}

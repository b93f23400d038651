package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"keyway/internal/audit"
	"keyway/internal/problem"
	"keyway/internal/telemetry"
	"keyway/internal/verify"
)

const (
	maxVerifies = 8    // that are waited for at once; how many run is the verifier's
	maxEntries  = 1000 // of the record in one answer
	entries     = 100  // unless asked for more
	chartFor    = 15 * time.Minute
)

// absent says that this gateway was built or configured without it.
func absent(what string) *Problem {
	return fail(http.StatusNotFound, problem.NotFound, "this gateway has no %s", what)
}

// verify goes through the checklist, and answers when it is through.
func (h *Handler) verify(w http.ResponseWriter, r *http.Request) error {
	var ask struct {
		Secrets []string `json:"secrets"`
	}
	if err := readBody(w, r, &ask, "secrets"); err != nil {
		return err
	}
	if err := checkNames(ask.Secrets); err != nil {
		return err
	}
	if h.verifier == nil {
		return absent("checklist")
	}
	select {
	case h.verifies <- struct{}{}:
		defer func() { <-h.verifies }()
	default:
		return errVerifying
	}
	report, err := h.verifier.Verify(r.Context(), ask.Secrets, byOf(r))
	if err != nil {
		return &unchanged{err}
	}
	h.log.Info("admin: verified", "by", byOf(r), "ok", report.OK)
	h.write(w, http.StatusOK, "application/json", filledReport(report))
	return nil
}

// lastVerify is the newest report of this replica.
func (h *Handler) lastVerify(w http.ResponseWriter, _ *http.Request) error {
	if h.verifier == nil {
		return absent("checklist")
	}
	report, ok := h.verifier.LastReport()
	if !ok {
		return fail(http.StatusNotFound, problem.NotFound, "this replica has not verified anything yet").cured("Run 'keyway verify'.")
	}
	h.write(w, http.StatusOK, "application/json", filledReport(report))
	return nil
}

func filledReport(r verify.Report) verify.Report {
	r.Checks = list(r.Checks)
	return r
}

func (h *Handler) audit(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("the query can't be read")
	}
	from, most := uint64(0), entries
	if text := query.Get("from"); text != "" {
		if from, err = strconv.ParseUint(text, 10, 64); err != nil {
			return badRequest("from: expected the number of an entry, or 0 for the newest")
		}
	}
	if text := query.Get("most"); text != "" {
		if most, err = strconv.Atoi(text); err != nil || most < 1 || most > maxEntries {
			return badRequest("most: expected 1 to %d", maxEntries)
		}
	}
	if h.auditor == nil {
		return absent("record")
	}
	page, err := h.auditor.Audit(r.Context(), from, most)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, "application/json", filledPage(page))
	return nil
}

func filledPage(p audit.Page) audit.Page {
	p.Lines = list(p.Lines)
	return p
}

type seriesAnswer struct {
	Points []telemetry.Point `json:"points"`
}

func (h *Handler) series(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("the query can't be read")
	}
	since := time.Now().Add(-chartFor)
	if text := query.Get("since"); text != "" {
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return badRequest("since: expected a time as in 2026-05-01T10:00:00Z")
		}
	}
	if h.charter == nil {
		return absent("series")
	}
	h.write(w, http.StatusOK, "application/json", seriesAnswer{list(h.charter.Points(since))})
	return nil
}

type loadState struct {
	Running bool `json:"running"`
}

func (h *Handler) loadState(w http.ResponseWriter, _ *http.Request) error {
	if h.load == nil {
		return absent("load generator; 'keyway demo' has one")
	}
	h.write(w, http.StatusOK, "application/json", loadState{h.load.Running()})
	return nil
}

func (h *Handler) turnLoad(w http.ResponseWriter, r *http.Request) error {
	var ask struct {
		Running *bool `json:"running"`
	}
	if err := readBody(w, r, &ask, "running"); err != nil {
		return err
	}
	switch {
	case ask.Running == nil:
		return badRequest(`expected "running": true or false`)
	case h.load == nil:
		return absent("load generator; 'keyway demo' has one")
	case *ask.Running:
		if err := h.load.Start(); err != nil {
			return err
		}
	default:
		h.load.Stop()
	}
	return h.loadState(w, r)
}

// byKey is where a request has who asked, for the record.
type byKey struct{}

func withBy(r *http.Request, by string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), byKey{}, by))
}

func byOf(r *http.Request) string {
	by, _ := r.Context().Value(byKey{}).(string)
	return by
}

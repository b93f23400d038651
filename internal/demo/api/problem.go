package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode"
)

// problem is what a caller is told when a request fails. Code is stable and for
// programs; detail is a sentence for people, and quotes nothing secret.
type problem struct {
	status       int
	code, detail string
}

// writeProblem answers with an RFC 9457 problem document. The correlation id is
// the one that the gateway sent, so that a user's report finds the log of both.
func writeProblem(w http.ResponseWriter, r *http.Request, p problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	writeBody(w, p.status, struct {
		Type          string `json:"type"`
		Title         string `json:"title"`
		Status        int    `json:"status"`
		Code          string `json:"code"`
		Detail        string `json:"detail"`
		CorrelationID string `json:"correlation_id,omitempty"`
	}{"about:blank", http.StatusText(p.status), p.status, p.code, p.detail, printable(r.Header.Get("X-Correlation-ID"))})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, status, v)
}

func writeBody(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	// The types given here all marshal; what fails is the connection, and then
	// nobody is left to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// printable makes what a client sent fit to be shown: at most 128 bytes, without
// control characters.
func printable(s string) string {
	s = s[:min(len(s), 128)]
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

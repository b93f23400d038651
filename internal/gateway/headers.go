package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"keyway/internal/telemetry"
)

// SecurityHeaders are what a browser is told with every answer of a route, where the
// upstream does not say it itself. The zero value says nothing.
type SecurityHeaders struct {
	// HSTS is for how long a browser is to come by https only (RFC 6797), in whole
	// seconds; 0: it is not told. It is told at https only (section 7.2).
	HSTS time.Duration
	// FrameOptions is DENY or SAMEORIGIN (RFC 7034). A policy with frame-ancestors of
	// the upstream stands instead.
	FrameOptions string
	// ReferrerPolicy is one of Referrer Policy section 3.
	ReferrerPolicy string
	// NoSniff is X-Content-Type-Options: nosniff (Fetch section 3.6).
	NoSniff bool
}

// fixedHeaders are header values that are the same for every answer. Nobody may
// change them once they are made; http.Header's own methods don't.
type fixedHeaders struct {
	hsts, frameOptions, referrerPolicy, contentTypeOptions []string // nil: not sent
	clearSiteData                                          []string
}

func newFixedHeaders(s *Settings) *fixedHeaders {
	f := &fixedHeaders{}
	o := s.Security
	if seconds := int64(o.HSTS / time.Second); seconds > 0 {
		f.hsts = []string{"max-age=" + strconv.FormatInt(seconds, 10)}
	}
	if o.FrameOptions != "" {
		f.frameOptions = []string{o.FrameOptions}
	}
	if o.ReferrerPolicy != "" {
		f.referrerPolicy = []string{o.ReferrerPolicy}
	}
	if o.NoSniff {
		f.contentTypeOptions = noSniff
	}
	if len(s.ClearSiteData) > 0 {
		// Quoted strings, of which a browser ignores those that it does not know.
		f.clearSiteData = []string{`"` + strings.Join(s.ClearSiteData, `", "`) + `"`}
	}
	return f
}

// Names as http.Header keeps them: its methods would look for the canonical form.
const (
	hHSTS               = "Strict-Transport-Security"
	hFrameOptions       = "X-Frame-Options"
	hReferrerPolicy     = "Referrer-Policy"
	hContentTypeOptions = "X-Content-Type-Options"
	hCSP                = "Content-Security-Policy"
	hResourcePolicy     = "Cross-Origin-Resource-Policy"
	hClearSiteData      = "Clear-Site-Data"
)

// add completes h with what it does not say.
func (f *fixedHeaders) add(h http.Header, https bool) {
	if https && f.hsts != nil {
		addIfMissing(h, hHSTS, f.hsts)
	}
	if f.frameOptions != nil && !namesFrameAncestors(h[hCSP]) {
		addIfMissing(h, hFrameOptions, f.frameOptions)
	}
	if f.referrerPolicy != nil {
		addIfMissing(h, hReferrerPolicy, f.referrerPolicy)
	}
	if f.contentTypeOptions != nil {
		addIfMissing(h, hContentTypeOptions, f.contentTypeOptions)
	}
}

func addIfMissing(h http.Header, name string, values []string) {
	if _, said := h[name]; !said {
		h[name] = values
	}
}

// namesFrameAncestors reports whether a policy says who may frame the page. A browser
// that knows the directive does not look at X-Frame-Options then (Content Security
// Policy Level 3 section 6.4.2), and one that does not should not be stricter than the
// upstream means to be.
func namesFrameAncestors(policies []string) bool {
	for _, rest := range policies {
		for rest != "" {
			var directive string
			if i := strings.IndexAny(rest, ";,"); i >= 0 {
				directive, rest = rest[:i], rest[i+1:]
			} else {
				directive, rest = rest, ""
			}
			directive = strings.TrimLeft(directive, " \t")
			if end := strings.IndexAny(directive, " \t"); end >= 0 {
				directive = directive[:end]
			}
			if strings.EqualFold(directive, "frame-ancestors") {
				return true
			}
		}
	}
	return false
}

// dressed completes an upstream's answer at the moment at which it is known what the
// upstream says. Everything else is the Recorder's.
type dressed struct {
	*telemetry.Recorder
	fixed *fixedHeaders
	https bool
}

// WriteHeader implements http.ResponseWriter. A switch of protocols is no answer that
// a browser shows; others of 1xx come before the answer.
func (d *dressed) WriteHeader(status int) {
	if status >= http.StatusOK && !d.Started() {
		d.fixed.add(d.Header(), d.https)
	}
	d.Recorder.WriteHeader(status)
}

// Write implements http.ResponseWriter: without a header, it is 200.
func (d *dressed) Write(b []byte) (int, error) {
	if !d.Started() {
		d.WriteHeader(http.StatusOK)
	}
	return d.Recorder.Write(b)
}

// dress is the writer for an answer that is not ours.
func (c *call) dress() http.ResponseWriter {
	c.answer = dressed{Recorder: &c.recorder, fixed: c.fixed, https: c.client.Scheme == "https"}
	return &c.answer
}

// ownHeaders are those of our own endpoints. What they say is about one user at one
// moment, so none of it may be stored, shown in a frame, or used by another site's page.
//
// A server that asks, at /auth/verify, copies what it is told and has no page to
// protect: it is told no more than it was, and a header of its answer costs each request.
func (c *call) ownHeaders() {
	h := c.w.Header()
	h["Cache-Control"] = noStore
	h[hContentTypeOptions] = noSniff
	h[hReferrerPolicy] = noReferrer
	h[hCSP] = noContent
	if c.contract == statusOnly {
		return
	}
	h[hResourcePolicy] = sameOrigin
	if c.fixed.hsts != nil && c.client.Scheme == "https" {
		h[hHSTS] = c.fixed.hsts
	}
}

var sameOrigin = []string{"same-origin"}

// clearSiteData has the browser throw away what the user's pages left in it. It is
// only for answers to what our own page wants done: any answer counts, that to an
// image on another site too. Cookies are not among it: those of the whole domain would
// go, with all that other hosts there have.
func (c *call) clearSiteData() {
	if c.client.Scheme == "https" && c.fixed.clearSiteData != nil {
		c.w.Header()[hClearSiteData] = c.fixed.clearSiteData
	}
}

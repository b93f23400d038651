package upstream

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// answer passes on a response, as onResponse has left it. From here on there is no
// honest way to fail: it panics with http.ErrAbortHandler.
func (x *exchange) answer(res *http.Response) {
	h := x.w.Header()
	addHeader(h, res.Header)
	announced := len(res.Trailer)
	if announced > 0 {
		h.Add("Trailer", strings.Join(slices.Sorted(maps.Keys(res.Trailer)), ", "))
	}
	if x.outside.ProtoMajor == 1 && x.sent.pending() {
		x.answerEarly()
	}
	x.w.WriteHeader(res.StatusCode)
	err := x.copyBody(res)
	_ = res.Body.Close() // which has trailers be complete
	if err != nil {
		x.reportAbort()
		panic(http.ErrAbortHandler)
	}
	if len(res.Trailer) == 0 {
		return
	}
	// A body that is not flushed might be sent with its length, after which there is no
	// place for trailers.
	_ = http.NewResponseController(x.w).Flush()
	if len(res.Trailer) == announced {
		addHeader(h, res.Trailer)
		return
	}
	for name, values := range res.Trailer {
		h[http.TrailerPrefix+name] = values
	}
}

// answerEarly is for an answer that comes before the request's end. net/http would wait
// for the rest of that before it sends anything, and could wait for long: a client may
// want the answer first. Told not to, it forgets what is left: it would read it as the
// next request, when its wait after the answer was cut short, or when the body that it
// asks about that has been replaced by one with a bound. So the connection ends.
func (x *exchange) answerEarly() {
	_ = x.cutoff.rc.EnableFullDuplex()
	endUpload(x.w, x.outside)
}

// addHeader adds from to h, which may take over its values.
func addHeader(h, from http.Header) {
	for name, values := range from {
		if already := h[name]; len(already) > 0 {
			values = slices.Concat(already, values)
		}
		h[name] = values
	}
}

// copyBody copies the response's body, through one pooled buffer. What comes piece by
// piece, or can be expected to, is sent on piece by piece, its header at once.
func (x *exchange) copyBody(res *http.Response) error {
	atOnce := x.req.Streaming || x.received.events || res.ContentLength < 0
	out := http.NewResponseController(x.w)
	if atOnce {
		_ = out.Flush()
	}
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if _, failed := x.w.Write(buf[:n]); failed != nil {
				return failed
			}
			if atOnce {
				_ = out.Flush()
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

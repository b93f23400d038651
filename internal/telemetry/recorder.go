package telemetry

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Recorder is a ResponseWriter that remembers status and size. It hands
// everything else through: Flush, Hijack and ReadFrom (so that sendfile still
// works) itself, deadlines by way of Unwrap (http.ResponseController).
type Recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Record wraps w. It is a value, to be part of what the caller keeps of a request
// anyway, and not taken from a pool: whoever holds on to it for too long then
// writes into a response that is over, not into somebody else's.
func Record(w http.ResponseWriter) Recorder { return Recorder{ResponseWriter: w} }

// Status is what was sent, 200 if a body was sent without one, 0 if nothing was.
func (r *Recorder) Status() int { return r.status }

// Bytes is the size of the body so far.
func (r *Recorder) Bytes() int64 { return r.bytes }

// Started reports whether the response's header is out.
func (r *Recorder) Started() bool { return r.status != 0 }

// WriteHeader implements http.ResponseWriter. Informational responses (1xx) may
// come before the real one.
func (r *Recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *Recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (r *Recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}

// FlushError sends what is there, and with it the header.
func (r *Recorder) FlushError() error {
	err := http.NewResponseController(r.ResponseWriter).Flush()
	if err == nil && r.status == 0 {
		r.status = http.StatusOK
	}
	return err
}

// Hijack implements http.Hijacker where the writer beneath does. What the new
// owner of the connection writes is not seen here; that it is no response of
// net/http's any more is, as 101.
func (r *Recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.status = http.StatusSwitchingProtocols
	}
	return conn, buffered, err
}

// Unwrap lets http.ResponseController find what the wrapped writer can do.
func (r *Recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

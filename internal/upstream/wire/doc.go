// Package wire refuses HTTP/1.1 requests whose framing two programs could read
// differently, before net/http reads them.
//
// net/http reads such messages safely for itself, but leniently: with both
// Content-Length and Transfer-Encoding it drops the first and keeps the
// connection open, which RFC 9112 section 6.1 forbids; it takes a bare LF for the
// end of a line (section 2.2 allows that), joins folded lines (section 5.2), and
// ignores Transfer-Encoding in HTTP/1.0. None of it can be seen in a
// *http.Request. Where another proxy stands in front, each is a way to smuggle a
// request past it. A connection of [Listener] answers them with 400 and closes.
//
// It follows messages just enough to know where each head begins, holds at most
// one line, and looks at bodies only where they are chunked.
package wire

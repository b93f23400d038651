package wire

import (
	"bytes"
	"strings"
)

// maxLine bounds a line, and with it what a connection holds. It is more than a
// server should accept in all.
const maxLine = 64 << 10

type state int

const (
	requestLine state = iota
	fieldLine
	sizedBody
	chunkLine
	chunkData
	chunkEnd
	trailerLine
	otherProtocol
)

// scanner follows requests on one connection. Its zero value expects one.
type scanner struct {
	state state
	line  []byte // a line that did not arrive whole, so far
	left  uint64 // bytes of body, or of a chunk, to come

	// Of the head that is being read.
	http10    bool
	sized     bool // has Content-Length
	chunked   bool // has Transfer-Encoding
	length    uint64
	following bool // not the connection's first message
}

// scan reads p and returns how much of it is sound: all, or what comes before the
// end of the line that holds the violation.
func (s *scanner) scan(p []byte) (int, error) {
	for at := 0; at < len(p); {
		switch s.state {
		case otherProtocol:
			return len(p), nil
		case sizedBody, chunkData:
			n := min(s.left, uint64(len(p)-at))
			s.left -= n
			at += int(n)
			if s.left == 0 {
				if s.state == chunkData {
					s.state = chunkEnd
				} else {
					s.next()
				}
			}
		default:
			end := bytes.IndexByte(p[at:], '\n')
			if end < 0 {
				if len(s.line)+len(p)-at > maxLine {
					return at, &Violation{"expected lines of at most 64 KiB"}
				}
				s.line = append(s.line, p[at:]...)
				return len(p), nil
			}
			end += at
			line := p[at:end]
			if len(s.line) > 0 {
				line = append(s.line, line...)
				s.line = line[:0]
				if cap(s.line) > 4<<10 {
					s.line = nil
				}
			}
			if err := s.endLine(line); err != "" {
				return end, &Violation{err}
			}
			at = end + 1
		}
	}
	return len(p), nil
}

// next expects another request.
func (s *scanner) next() {
	*s = scanner{line: s.line, following: true}
}

// endLine takes a line without its LF and returns the rule that it breaks, if any.
func (s *scanner) endLine(line []byte) string {
	// RFC 9112 section 2.2 lets a recipient take a lone LF for an end of line; that
	// some do and others don't is the trouble.
	line, ok := bytes.CutSuffix(line, []byte("\r"))
	if !ok || bytes.IndexByte(line, '\r') >= 0 {
		return "expected lines to end with CR LF"
	}
	if len(line) > maxLine {
		return "expected lines of at most 64 KiB"
	}
	switch s.state {
	case requestLine:
		return s.endRequestLine(line)
	case fieldLine:
		if len(line) == 0 {
			return s.endHead()
		}
		return s.field(line)
	case chunkLine:
		return s.chunk(line)
	case chunkEnd:
		if len(line) > 0 {
			return "expected a chunk to be as long as it said"
		}
		s.state = chunkLine
	case trailerLine:
		if len(line) == 0 {
			s.next()
			return ""
		}
		return s.trailer(line)
	}
	return ""
}

func (s *scanner) endRequestLine(line []byte) string {
	switch {
	case len(line) == 0:
		// An empty line before a request is to be ignored (section 2.2); whether it
		// is, net/http decides.
		return ""
	case !s.following && string(line) == "PRI * HTTP/2.0":
		s.state = otherProtocol // RFC 9113 section 3.4
		return ""
	case bytes.HasSuffix(line, []byte(" HTTP/1.1")):
	case bytes.HasSuffix(line, []byte(" HTTP/1.0")):
		s.http10 = true
	default:
		return "expected a request line that ends with HTTP/1.1"
	}
	s.state = fieldLine
	return ""
}

func (s *scanner) field(line []byte) string {
	if line[0] == ' ' || line[0] == '\t' {
		return "expected no folded lines" // section 5.2
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) {
		return "expected a field name, directly followed by a colon" // section 5.1
	}
	switch {
	case len(name) == len("content-length") && strings.EqualFold(string(name), "content-length"):
		return s.contentLength(value)
	case len(name) == len("transfer-encoding") && strings.EqualFold(string(name), "transfer-encoding"):
		if s.chunked || !strings.EqualFold(strings.Trim(string(value), " \t"), "chunked") {
			return "expected Transfer-Encoding: chunked, once, or none"
		}
		s.chunked = true
	}
	return ""
}

func (s *scanner) contentLength(value []byte) string {
	digits := bytes.Trim(value, " \t")
	if s.sized || len(digits) == 0 || len(digits) > 18 {
		return "expected one Content-Length"
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return "expected Content-Length in digits"
		}
		s.length = s.length*10 + uint64(c-'0')
	}
	s.sized = true
	return ""
}

func (s *scanner) endHead() string {
	switch {
	case s.chunked && s.sized:
		return "expected Content-Length or Transfer-Encoding, found both" // section 6.1
	case s.chunked && s.http10:
		return "expected no Transfer-Encoding in HTTP/1.0" // section 6.1
	case s.chunked:
		s.state = chunkLine
	case s.length > 0:
		s.state, s.left = sizedBody, s.length
	default:
		s.next()
	}
	return ""
}

func (s *scanner) chunk(line []byte) string {
	size, _, _ := bytes.Cut(line, []byte(";"))
	size = bytes.TrimRight(size, " \t") // bad white space before an extension, section 7.1.1
	if len(size) == 0 || len(size) > 15 {
		return "expected a chunk size"
	}
	var n uint64
	for _, c := range size {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return "expected a chunk size in hexadecimal digits"
		}
		n = n<<4 | uint64(c)
	}
	if n == 0 {
		s.state = trailerLine
	} else {
		s.state, s.left = chunkData, n
	}
	return ""
}

func (s *scanner) trailer(line []byte) string {
	s.sized, s.chunked = false, false
	rule := s.field(line)
	if rule == "" && (s.sized || s.chunked) {
		rule = "expected no framing fields among trailers" // RFC 9110 section 6.5.1
	}
	return rule
}

// tokenBytes are the tchar of RFC 9110 section 5.6.2.
var tokenBytes = func() (table [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		table[c] = true
	}
	return table
}()

func isToken(name []byte) bool {
	for _, c := range name {
		if !tokenBytes[c] {
			return false
		}
	}
	return len(name) > 0
}

package upstream

import "net/http"

// onlyInHeaders are the fields that a trailer may not have (RFC 9110 section 6.5.1, and
// for cookies RFC 7230 section 4.1.2): how a message is framed, routed, read and cached,
// and who asks, is decided before its trailer is there.
var onlyInHeaders = newNames([]string{
	"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "host",
	"content-encoding", "content-type", "content-range", "content-location", "content-disposition", "content-security-policy",
	"authorization", "www-authenticate", "authentication-info", "cookie", "set-cookie",
	"cache-control", "date", "location", "retry-after", "vary", "warning", "strict-transport-security",
	"expect", "max-forwards", "range",
}, []string{"proxy-", "if-"})

// cleanTrailer removes from an upstream's trailer what may not be in one, and what may
// not reach clients in a header either.
func cleanTrailer(h http.Header) {
	for name := range h {
		var buf [foldedMax]byte
		if onlyInHeaders.have(Fold(buf[:0], name)) || notForClients(name, true) {
			delete(h, name)
		}
	}
}

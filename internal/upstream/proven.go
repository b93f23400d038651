package upstream

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"keyway/internal/dpop"
)

// maxKept is how much of a request's body is kept for a second try. Longer ones are
// sent once.
const maxKept = 64 << 10

// proven sends a request with a token that is bound to a key, and with the proof for it
// (RFC 9449 section 7). The address in the proof is the one that the upstream is sent
// to: its base_url and the path that was decided upon, whatever name the client knows
// us by.
//
// An upstream that wants a nonce refuses the first request and gives one (section 9).
// Then it is sent again, once, if what was sent of its body is still there; by then the
// nonce is kept, so that it is the first request only that can fail for its body. Such
// a refusal never goes to the client: it is about our proof, and not about the user.
func (x *exchange) proven(out *http.Request) (*http.Response, error) {
	// Streams keep the exchange for hours, and must not keep the keys with it.
	proofs := x.req.Proofs
	x.req.Proofs = nil
	address := x.service.scheme + "://" + x.service.host + out.URL.Opaque
	for again := false; ; again = true {
		proof, err := proofs.Prove(dpop.Request{Version: x.token.Key, Method: out.Method, URL: address, Token: x.token.Value})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errProof, err)
		}
		// Not the map of before: a transport may still be writing that.
		out = out.Clone(out.Context())
		out.Header[dpop.Header] = []string{proof}
		res, err := x.send(out)
		if err != nil {
			return nil, err
		}
		fresh := proofs.Took(address, res.Header[dpop.NonceHeader])
		if !dpop.WantsNonce(res.StatusCode, res.Header) {
			return res, nil
		}
		// What is left of the answer is read, so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
		_ = res.Body.Close()
		if again || !fresh {
			return nil, errNonce
		}
		if x.kept != nil {
			body, ok := x.kept.again()
			if !ok {
				return nil, errNonce
			}
			out.Body = body
		}
	}
}

// keptBody remembers what it has given away of a body, as long as that is little.
type keptBody struct {
	*requestBody
	most int64
	kept bytes.Buffer
	lost bool // more was read than is kept
}

// keepBody keeps a body of at most maxKept bytes; of a longer one nothing.
func keepBody(body *requestBody, length int64) *keptBody {
	return &keptBody{requestBody: body, most: maxKept, lost: length > maxKept}
}

// Read implements io.Reader.
func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.requestBody.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.lost && int64(b.kept.Len()+n) > b.most {
		b.lost = true
		b.kept = bytes.Buffer{}
	}
	if !b.lost {
		b.kept.Write(p[:n])
	}
	return n, err
}

// again is the whole body once more; not if it was not read to its end, or is too long.
func (b *keptBody) again() (io.ReadCloser, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost || !b.whole || b.err != nil {
		return nil, false
	}
	return io.NopCloser(bytes.NewReader(b.kept.Bytes())), true
}

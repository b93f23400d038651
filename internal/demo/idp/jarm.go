package idp

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// responseLifetime is how long a signed response is good (JARM, 2.1: short).
const responseLifetime = time.Minute

func isSigned(mode string) bool { return mode == "jwt" || mode == "query.jwt" }

// signedReply puts an authorization response into a JWT (JARM, 2.1 and 2.3.1).
func (p *Provider) signedReply(c *call, to reply, v url.Values) (url.Values, *oauthError) {
	claims := map[string]any{"iss": p.o.Issuer, "aud": to.clientID, "exp": c.now.Add(responseLifetime).Unix()}
	for name := range v {
		claims[name] = v.Get(name)
	}
	t := &JWT{ClientID: to.clientID, Header: map[string]any{}, Claims: claims}
	if h := c.hooks.Response; h != nil {
		h(t)
	}
	token, err := p.sign(t)
	if err != nil {
		return nil, err
	}
	if h := c.hooks.SerializedResponse; h != nil {
		token = h(token)
	}
	return url.Values{"response": {token}}, nil
}

// jwtParts are header and claims of a compact JWS as it came, good or not.
func jwtParts(raw string) (header, claims map[string]any) {
	parts := strings.Split(raw, ".")
	decode := func(i int) (m map[string]any) {
		if i < len(parts) {
			if b, err := base64.RawURLEncoding.DecodeString(parts[i]); err == nil {
				_ = json.Unmarshal(b, &m)
			}
		}
		return m
	}
	return decode(0), decode(1)
}

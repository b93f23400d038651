package upstream

import "bytes"

// foldedMax bounds how much of a name is looked at: longer than any exact name,
// and enough for every prefix.
const foldedMax = 48

// reservedNames are the headers, folded, that a client can't send to an upstream.
// The other hop-by-hop headers are those that Connection names, and TE; see forwardable.
var reservedNames = map[string]bool{
	// Ours to set.
	"x-correlation-id": true,
	"authorization":    true,
	"x-authorization":  true,
	"dpop":             true, // a proof for us, bound to our address
	"x-csrf-token":     true,
	// Of which trace it is part: who says so decides what is sampled.
	"traceparent": true,
	"tracestate":  true,
	"baggage":     true,
	// Who sent it, and how it came here.
	"forwarded":           true,
	"x-forwarded":         true,
	"x-real-ip":           true,
	"client-ip":           true,
	"x-client-ip":         true,
	"x-cluster-client-ip": true,
	"true-client-ip":      true,
	"cf-connecting-ip":    true,
	"fastly-client-ip":    true,
	"remote-addr":         true,
	"x-host":              true,
	"x-user":              true,
	"x-scheme":            true,
	"front-end-https":     true,
	// Who it is, in names of other products.
	"remote-user":      true,
	"remote-email":     true,
	"remote-groups":    true,
	"remote-name":      true,
	"remote-roles":     true,
	"remote-ident":     true,
	"auth-user":        true,
	"auth-type":        true,
	"x-userid":         true,
	"x-username":       true,
	"x-useremail":      true,
	"x-principal":      true,
	"x-subject":        true,
	"x-email":          true,
	"x-role":           true,
	"x-roles":          true,
	"x-group":          true,
	"x-groups":         true,
	"x-claims":         true,
	"x-jwt":            true,
	"x-jwt-assertion":  true, // WSO2
	"x-userinfo":       true, // Kong, APISIX
	"x-id-token":       true,
	"x-access-token":   true,
	"x-refresh-token":  true,
	"x-arr-clientcert": true, // Azure App Service
	// What would be done instead of what was decided.
	"x-http-method":          true,
	"x-http-method-override": true,
	"x-method-override":      true,
	"x-rewrite-url":          true,
	"x-url-scheme":           true,
	// CGI servers take it for the environment variable HTTP_PROXY.
	"proxy": true,
	// Upgrades other than ours.
	"http2-settings": true,
	"upgrade":        true,
	"connection":     true,
	// Framing, under names that net/http does not act on and an upstream might.
	// The real ones are not header fields any more when we get to see them.
	"content-length":    true,
	"transfer-encoding": true,
	"trailer":           true,
	"keep-alive":        true,
	"host":              true,
}

// reservedPrefixes are families: what is not used today may be tomorrow, and
// programs believe what is named like its neighbours.
var reservedPrefixes = byFirst(
	"x-forwarded-", "x-original-", "x-user-", "x-session-", "x-auth-", "x-remote-", "x-envoy-", "proxy-",
	// Who it is, in the names of other products: a service that stood behind one of
	// them still believes these.
	"remote-user-",         // Authelia, with the names below
	"x-webauth-",           // Grafana
	"x-authenticated-",     // Kong, nginx recipes
	"x-authentik-",         // authentik
	"x-consumer-",          // Kong
	"x-credential-",        // Kong
	"x-anonymous-consumer", // Kong
	"x-pomerium-",          // Pomerium
	"x-vouch-",             // Vouch
	"x-ms-client-",         // Azure App Service: X-MS-CLIENT-PRINCIPAL-NAME
	"x-ms-token-",          // Azure App Service
	"x-amzn-oidc-",         // AWS load balancers
	"x-amzn-mtls-",         // the same
	"x-goog-authenticated-",
	"x-goog-iap-",
	"cf-access-",                                                             // Cloudflare Access
	"impersonate-",                                                           // Kubernetes: Impersonate-User, -Group, -Extra-*
	"x-client-cert", "x-ssl-", "ssl-client-", "client-cert", "x-tls-client-", // what TLS said; client-cert is RFC 9440
	"oidc-claim-", "oidc-access-token", "oidc-id-token", "oidc-refresh-token", // Apache mod_auth_openidc and kin
)

// reserved reports whether a client's header of this name must not reach an
// upstream.
//
// Servers disagree on what is one name: CGI and its descendants (RFC 3875 section
// 4.1.18) can't tell "-" from "_", some put "_" for every character that is no
// letter or digit, all ignore case. So names are compared after folding: lower
// case, and each run of anything but letters and digits as one "-", none at the
// ends.
func reserved(name string) bool {
	var buf [foldedMax]byte
	folded := Fold(buf[:0], name)
	if reservedNames[string(folded)] {
		return true
	}
	return reservedPrefixes.fit(folded)
}

// foreignNames are the headers, folded, that an upstream can't send to a client.
var foreignNames = map[string]bool{
	"dpop-nonce":       true, // for our proofs, not for the client's
	"x-correlation-id": true,
	"alt-svc":          true, // would lead the browser around the gateway
	"clear-site-data":  true, // would sign the user out here
	"set-cookie2":      true, // RFC 2965: a cookie past the rules for Set-Cookie
}

// foreignPrefixes are families of them: who may read, which the gateway says; orders
// to the server in front, of nginx, Apache, lighttpd and Perlbal, to send some file
// of its own; and our identity, which would tell a client what upstreams are told.
var foreignPrefixes = byFirst(
	"access-control-", "x-accel-", "x-sendfile", "x-lighttpd-", "x-reproxy-", "x-user-", "x-session-", "x-original-", "x-auth-",
)

// cacheNames talk to caches, by the side of Cache-Control, as "*-cache-control" (RFC
// 9213) and "surrogate-*" do.
var cacheNames = map[string]bool{"expires": true, "pragma": true, "age": true, "edge-control": true}

// notForClients reports whether a header of this name must not reach a client from
// an upstream, given whether the response is not to be stored.
func notForClients(name string, noStore bool) bool {
	var buf [foldedMax]byte
	folded := Fold(buf[:0], name)
	if foreignNames[string(folded)] || foreignPrefixes.fit(folded) {
		return true
	}
	if !noStore {
		return false
	}
	if cacheNames[string(folded)] || bytes.HasPrefix(folded, []byte("surrogate-")) {
		return true
	}
	if len(name) > foldedMax {
		folded = Fold(buf[:0], name[len(name)-foldedMax:])
	}
	return bytes.HasSuffix(folded, []byte("-cache-control"))
}

// prefixes are of folded names, by their first letter: most names have one with which
// none begins.
type prefixes [256][]string

func byFirst(all ...string) *prefixes {
	var p prefixes
	for _, prefix := range all {
		p[prefix[0]] = append(p[prefix[0]], prefix)
	}
	return &p
}

// fit reports whether one of the prefixes fits.
func (p *prefixes) fit(folded []byte) bool {
	if len(folded) == 0 {
		return false
	}
	for _, prefix := range p[folded[0]] {
		// The third letter tells most of them apart that begin with "x-".
		if len(folded) >= len(prefix) && folded[2] == prefix[2] && string(folded[:len(prefix)]) == prefix {
			return true
		}
	}
	return false
}

// Fold appends to buf, up to its capacity, a header's name as the laxest server reads
// it: in lower case, each run of other characters than letters and digits a hyphen.
// It allocates nothing.
func Fold(buf []byte, name string) []byte {
	gap := false
	for i := 0; i < len(name) && len(buf) < cap(buf); i++ {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9') {
			gap = len(buf) > 0
			continue
		}
		if gap {
			gap = false
			buf = append(buf, '-')
			if len(buf) == cap(buf) {
				break
			}
		}
		buf = append(buf, c)
	}
	return buf
}

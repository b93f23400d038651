package upstream

import "bytes"

// foldedMax bounds how much of a name is looked at: longer than any exact name,
// and enough for every prefix.
const foldedMax = 48

// reservedNames are the headers that a client can't send to an upstream. Of the
// hop-by-hop headers those that Connection names, and TE, are not here: see forwardable.
var reservedNames = newNames([]string{
	// Ours to set.
	"x-correlation-id",
	"authorization",
	"x-authorization",
	"dpop", // a proof for us, bound to our address
	"x-csrf-token",
	// Of which trace it is part: who says so decides what is sampled.
	"traceparent",
	"tracestate",
	"baggage",
	// Who sent it, and how it came here.
	"forwarded",
	"x-forwarded",
	"x-real-ip",
	"client-ip",
	"x-client-ip",
	"x-cluster-client-ip",
	"true-client-ip",
	"cf-connecting-ip",
	"fastly-client-ip",
	"remote-addr",
	"x-host",
	"x-user",
	"x-scheme",
	"front-end-https",
	// Who it is, in names of other products.
	"remote-user",
	"remote-email",
	"remote-groups",
	"remote-name",
	"remote-roles",
	"remote-ident",
	"auth-user",
	"auth-type",
	"x-userid",
	"x-username",
	"x-useremail",
	"x-principal",
	"x-subject",
	"x-email",
	"x-role",
	"x-roles",
	"x-group",
	"x-groups",
	"x-claims",
	"x-jwt",
	"x-jwt-assertion", // WSO2
	"x-userinfo",      // Kong, APISIX
	"x-id-token",
	"x-access-token",
	"x-refresh-token",
	"x-arr-clientcert", // Azure App Service
	// What would be done instead of what was decided.
	"x-http-method",
	"x-http-method-override",
	"x-method-override",
	"x-rewrite-url",
	"x-url-scheme",
	// CGI servers take it for the environment variable HTTP_PROXY.
	"proxy",
	// Upgrades other than ours.
	"http2-settings",
	"upgrade",
	"connection",
	// Framing, under names that net/http does not act on and an upstream might.
	// The real ones are not header fields any more when we get to see them.
	"content-length",
	"transfer-encoding",
	"trailer",
	"keep-alive",
	"host",
}, reservedPrefixes)

// reservedPrefixes are families: what is not used today may be tomorrow, and
// programs believe what is named like its neighbours.
var reservedPrefixes = []string{
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
}

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
	return reservedNames.have(Fold(buf[:0], name))
}

// foreignNames are the headers that an upstream can't send to a client. The families
// among them are who may read, which the gateway says; orders to the server in front,
// of nginx, Apache, lighttpd and Perlbal, to send some file of its own; and our
// identity, which would tell a client what upstreams are told.
var foreignNames = newNames([]string{
	"dpop-nonce", // for our proofs, not for the client's
	"x-correlation-id",
	"alt-svc",         // would lead the browser around the gateway
	"clear-site-data", // would sign the user out here
	"set-cookie2",     // RFC 2965: a cookie past the rules for Set-Cookie
}, []string{
	"access-control-", "x-accel-", "x-sendfile", "x-lighttpd-", "x-reproxy-", "x-user-", "x-session-", "x-original-", "x-auth-",
})

// cacheNames talk to caches, by the side of Cache-Control, as "*-cache-control" (RFC
// 9213) does.
var cacheNames = newNames([]string{"expires", "pragma", "age", "edge-control"}, []string{"surrogate-"})

// notForClients reports whether a header of this name must not reach a client from
// an upstream, given whether the response is not to be stored.
func notForClients(name string, noStore bool) bool {
	var buf [foldedMax]byte
	folded := Fold(buf[:0], name)
	if foreignNames.have(folded) {
		return true
	}
	if !noStore {
		return false
	}
	if cacheNames.have(folded) {
		return true
	}
	if len(name) > foldedMax {
		folded = Fold(buf[:0], name[len(name)-foldedMax:])
	}
	return bytes.HasSuffix(folded, []byte("-cache-control"))
}

// names is a set of folded names, and of families: what begins alike. Most names that
// are looked for have neither a first letter with which a family begins, nor one and a
// length that some name has, and cost no more than to see that.
type names struct {
	whole    map[string]bool
	lengths  [256]uint64   // of whole, as bits, by first letter
	families [256][]string // by first letter
}

// newNames makes a set; all of it is folded, and names are shorter than 64.
func newNames(whole, families []string) *names {
	n := &names{whole: make(map[string]bool, len(whole))}
	for _, name := range whole {
		n.whole[name] = true
		n.lengths[name[0]] |= 1 << len(name)
	}
	for _, family := range families {
		n.families[family[0]] = append(n.families[family[0]], family)
	}
	return n
}

func (n *names) have(folded []byte) bool {
	if len(folded) == 0 {
		return false
	}
	first := folded[0]
	if n.lengths[first]&(1<<len(folded)) != 0 && n.whole[string(folded)] {
		return true
	}
	for _, family := range n.families[first] {
		// The third letter tells most of them apart that begin with "x-".
		if len(folded) >= len(family) && folded[2] == family[2] && string(folded[:len(family)]) == family {
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

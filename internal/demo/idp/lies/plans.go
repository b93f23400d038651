package lies

// Variant is how the relying party is set up for a run.
type Variant string

// The variants.
const (
	Usual       Variant = ""             // private_key_jwt, answers in the query
	SecretBasic Variant = "secret_basic" // client_secret_basic
	SecretPost  Variant = "secret_post"  // client_secret_post
	FormPost    Variant = "form_post"    // the provider answers by form_post
	FormSecret  Variant = "form_secret"  // the same, and client_secret_basic
	FAPI        Variant = "fapi"         // every request must be pushed, and tokens are bound to a key (DPoP)
)

// Module is one of a plan's. Exactly one of Lies, Threat and Why is set.
type Module struct {
	Name string
	// Lies stand for it, all of them.
	Lies []string
	// Threat is the case of the threat list whose tests stand for it.
	Threat int
	// Why it does not apply.
	Why string
}

// Plan is one of the OpenID Foundation's conformance plans for relying parties.
type Plan struct {
	Name    string
	Title   string
	Variant Variant
	Modules []Module
}

// Run is one lie in one variant.
type Run struct {
	Lie     string
	Variant Variant
}

// Name of the run, as of a subtest.
func (r Run) Name() string {
	if r.Variant == Usual {
		return r.Lie
	}
	return r.Lie + "." + string(r.Variant)
}

// Runs are all that is to be run: each lie once, and again in each variant in
// which a plan has it.
func Runs() []Run {
	var list []Run
	seen := map[Run]bool{}
	add := func(r Run) {
		if !seen[r] {
			seen[r] = true
			list = append(list, r)
		}
	}
	for _, l := range All() {
		add(Once(l))
	}
	for _, p := range Plans() {
		for _, m := range p.Modules {
			for _, id := range m.Lies {
				add(p.Of(m, id))
			}
		}
	}
	return list
}

// Once is the run of a lie where no plan asks for another.
func Once(l Lie) Run {
	if l.Secret {
		return Run{l.ID, SecretBasic}
	}
	if l.Bound {
		return Run{l.ID, FAPI}
	}
	return Run{l.ID, Usual}
}

// Of is the run of a lie for a module of the plan.
func (p Plan) Of(m Module, id string) Run {
	switch l, _ := Named(id); {
	case m.Name == "oidcc-client-test-client-secret-post":
		return Run{id, SecretPost}
	case m.Name == "oidcc-client-test-client-secret-basic" && p.Variant == FormPost:
		return Run{id, FormSecret}
	case m.Name == "oidcc-client-test-client-secret-basic", l.Secret:
		return Run{id, SecretBasic}
	}
	return Run{id, p.Variant}
}

func by(name string, lies ...string) Module { return Module{Name: name, Lies: lies} }

func not(name, why string) Module { return Module{Name: name, Why: why} }

func elsewhere(name string, threat int) Module { return Module{Name: name, Threat: threat} }

const (
	noRegistration = "We don't register ourselves: the client is the operator's, by client_id."
	noWebFinger    = "We don't ask whose user somebody is: the issuer is configured."
	noByReference  = "We don't send request objects by reference: pushed requests (RFC 9126) do what they were for."
	noFrontChannel = "A front-channel logout is an image on another site's page, which browsers send without our cookies. The back channel is offered."
	noIframe       = "Session management polls by an iframe on another site, from which browsers keep their cookies. The back channel is offered."
	noThirdParty   = "Another site can't begin a sign-in here: it could sign people in whom nobody asked. A link to /auth/login does it."
	noSignedInfo   = "We don't ask for signed UserInfo, and refuse it; see userinfo-jwt."
	noMTLS         = "We don't offer mutual TLS to the provider."
	noGrants       = "Grant management is not offered."
	noClaimSources = "Claims of other sources are not followed: they are not ours to vouch for."
	noBodyToken    = "The access token goes into the header (RFC 6750, 2.1), nowhere else."
)

func basicModules() []Module {
	return []Module{
		by("oidcc-client-test", "honest"),
		by("oidcc-client-test-invalid-iss", "id-token-iss-wrong"),
		by("oidcc-client-test-missing-sub", "id-token-sub-missing"),
		by("oidcc-client-test-invalid-aud", "id-token-aud-wrong"),
		by("oidcc-client-test-missing-iat", "id-token-iat-missing"),
		by("oidcc-client-test-kid-absent-single-jwks", "key-no-kid-one-key"),
		by("oidcc-client-test-kid-absent-multiple-jwks", "key-no-kid-many-keys", "key-no-kids-at-all"),
		by("oidcc-client-test-idtoken-sig-rs256", "signature-rs256"),
		by("oidcc-client-test-idtoken-sig-none", "signature-none"),
		by("oidcc-client-test-invalid-sig-rs256", "signature-rs256-bad"),
		by("oidcc-client-test-userinfo-invalid-sub", "userinfo-other-sub"),
		by("oidcc-client-test-nonce-invalid", "id-token-nonce-wrong"),
		by("oidcc-client-test-scope-userinfo-claims", "honest"),
		by("oidcc-client-test-client-secret-basic", "honest"),
	}
}

// Plans are those for relying parties. Module names are the suite's.
func Plans() []Plan {
	fapi := func(prefix string) []Module {
		return []Module{
			by(prefix+"happy-path", "honest"),
			by(prefix+"discovery-issuer-mismatch", "discovery-issuer-mismatch"),
			by(prefix+"invalid-iss", "id-token-iss-wrong"),
			by(prefix+"invalid-aud", "id-token-aud-wrong"),
			by(prefix+"invalid-secondary-aud", "id-token-aud-extra-without-azp"),
			by(prefix+"invalid-null-alg", "signature-none"),
			by(prefix+"invalid-alternate-alg", "signature-other-alg"),
			by(prefix+"invalid-expired-exp", "id-token-exp-past"),
			by(prefix+"invalid-missing-exp", "id-token-exp-missing"),
			by(prefix+"invalid-missing-aud", "id-token-aud-missing"),
			by(prefix+"invalid-missing-iss", "id-token-iss-missing"),
			by(prefix+"valid-aud-as-array", "id-token-aud-list-of-one"),
			by(prefix+"invalid-nonce", "id-token-nonce-wrong"),
			by(prefix+"invalid-missing-nonce", "id-token-nonce-missing"),
			by(prefix+"invalid-authorization-response-iss", "response-iss-wrong"),
			by(prefix+"remove-authorization-response-iss", "response-iss-missing"),
			by(prefix+"ensure-authorization-response-with-invalid-state-fails", "response-state-wrong", "response-state-changed"),
			by(prefix+"ensure-authorization-response-with-invalid-missing-state-fails", "response-state-missing"),
			by(prefix+"token-endpoint-response-without-expires_in", "token-no-expires-in"),
			by(prefix+"token-type-case-insensitivity", "token-dpop-capitals", "token-dpop-lower-case"),
			elsewhere(prefix+"rs-dpop-auth-scheme-case-insensitivity", 21),
			by(prefix+"happy-path-no-dpop-nonce", "honest"),
			not(prefix+"happy-path-no-mtls-endpoint-aliases", noMTLS),
		}
	}
	const final = "fapi2-security-profile-final-client-test-"
	jarm := []Module{}
	for _, name := range []string{
		"without-iss-fails", "with-invalid-iss-fails", "without-aud-fails", "with-invalid-aud-fails", "without-exp-fails", "with-expired-exp-fails",
		"with-invalid-sig-fails", "signature-is-not-none",
	} {
		jarm = append(jarm, elsewhere(final+"ensure-jarm-"+name, 10))
	}
	rest := []Module{
		by("fapi2-security-profile-final-client-refresh-token-test", "refresh-honest"),
		not(final+"grant-management-happy-path", noGrants),
		not(final+"grant-management-query-and-revoke", noGrants),
		not(final+"grant-management-invalid-grant-id-fails", noGrants),
	}
	logout := "oidcc-client-test-rp-"
	return []Plan{
		{"oidcc-client-basic-certification-test-plan", "Basic", Usual, basicModules()},
		{"oidcc-client-formpost-basic-certification-test-plan", "Form post, basic", FormPost, basicModules()},
		{"oidcc-client-config-certification-test-plan", "Configuration by discovery", Usual, []Module{
			by("oidcc-client-test-discovery-openid-config", "discovery-honest"),
			by("oidcc-client-test-discovery-jwks-uri-keys", "honest"),
			by("oidcc-client-test-discovery-issuer-mismatch", "discovery-issuer-mismatch", "discovery-issuer-slash"),
			by("oidcc-client-test-idtoken-sig-none", "signature-none"),
			by("oidcc-client-test-signing-key-rotation-just-before-signing", "key-rotated-before-signing"),
			by("oidcc-client-test-signing-key-rotation", "key-rotated"),
		}},
		{"oidcc-client-test-plan", "Comprehensive, what of it is in no other plan and is of the code flow", Usual, []Module{
			by("oidcc-client-test-missing-aud", "id-token-aud-missing"),
			by("oidcc-client-test-invalid-sig-es256", "signature-bad-bytes", "signature-wrong-key"),
			by("oidcc-client-test-invalid-sig-hs256", "signature-hs256-client-secret"),
			by("oidcc-client-test-userinfo-bearer-header", "honest"),
			by("oidcc-client-test-client-secret-post", "honest"),
			not("oidcc-client-test-userinfo-bearer-body", noBodyToken),
			not("oidcc-client-test-aggregated-claims", noClaimSources),
			not("oidcc-client-test-distributed-claims", noClaimSources),
		}},
		{"oidcc-client-refreshtoken-test-plan", "Refresh tokens", Usual, []Module{
			by("oidcc-client-test-refresh-token", "refresh-honest"),
			by("oidcc-client-test-refresh-token-invalid-issuer", "refresh-other-iss"),
			by("oidcc-client-test-refresh-token-invalid-sub", "refresh-other-sub"),
		}},
		{"oidcc-client-rp-initiated-logout-rp-basic", "Logout that we begin", Usual, []Module{
			by(logout+"init-logout", "logout"),
			by(logout+"init-logout-other-state", "logout-other-state"),
			by(logout+"init-logout-no-state", "logout-no-state"),
		}},
		{"oidcc-client-back-channel-logout-rp-basic", "Logout by the back channel", Usual, []Module{
			by(logout+"backchannel-rpinitlogout", "logout", "backchannel-honest"),
			by(logout+"backchannel-rpinitlogout-alg-none", "backchannel-none"),
			by(logout+"backchannel-rpinitlogout-no-event", "backchannel-events-missing"),
			by(logout+"backchannel-rpinitlogout-with-nonce", "backchannel-nonce"),
			by(logout+"backchannel-rpinitlogout-wrong-alg", "backchannel-wrong-alg"),
			by(logout+"backchannel-rpinitlogout-wrong-aud", "backchannel-aud-wrong"),
			by(logout+"backchannel-rpinitlogout-wrong-event", "backchannel-events-wrong"),
			by(logout+"backchannel-rpinitlogout-wrong-iss", "backchannel-iss-wrong"),
		}},
		{"oidcc-client-front-channel-logout-rp-basic", "Logout by the front channel", Usual, []Module{
			not(logout+"frontchannel-rpinitlogout", noFrontChannel), not(logout+"frontchannel-opinitlogout", noFrontChannel),
		}},
		{"oidcc-client-rp-session-management-rp-basic", "Session management", Usual, []Module{not("oidcc-client-test-session-management", noIframe)}},
		{"oidcc-client-test-3rd-party-init-login-test-plan", "Sign-in that another site begins", Usual, []Module{
			not("oidcc-client-test-3rd-party-init-login", noThirdParty),
		}},
		{"oidcc-client-dynamic-certification-test-plan", "Dynamic registration, what of it is in no other plan", Usual, []Module{
			not("oidcc-client-test-discovery-webfinger-acct", noWebFinger), not("oidcc-client-test-discovery-webfinger-url", noWebFinger),
			not("oidcc-client-test-dynamic-registration", noRegistration),
			not("oidcc-client-test-request-uri-signed-rs256", noByReference), not("oidcc-client-test-request-uri-signed-none", noByReference),
			not("oidcc-client-test-userinfo-signed", noSignedInfo),
		}},
		{"fapi2-security-profile-final-client-test-plan", "FAPI 2.0 Security Profile, Final", FAPI, append(fapi(final), rest...)},
		{"fapi2-security-profile-id2-client-test-plan", "FAPI 2.0 Security Profile, Second Implementer's Draft", FAPI, fapi("fapi2-security-profile-id2-client-test-")},
		{"fapi2-message-signing-final-client-test-plan", "FAPI 2.0 Message Signing, Final: what it adds", FAPI, jarm},
	}
}

// NotOurs are whole families of plans that do not apply, and why.
func NotOurs() map[string]string {
	return map[string]string{
		"oidcc-client-implicit-certification-test-plan, …-formpost-implicit-…": "Tokens in the front channel are what a gateway is there to avoid (RFC 9700, 2.1.2): we ask for a code, and for nothing else.",
		"oidcc-client-hybrid-certification-test-plan, …-formpost-hybrid-…":     "The same: no token comes by the browser.",
		"fapi1-advanced-final-client-test-plan":                                "FAPI 1.0 is followed by FAPI 2.0, which is listed.",
	}
}

package config

import (
	"net/netip"
	"net/url"
	"time"

	"keyway/internal/limit"
)

// Settings is settings.yaml. Durations are written as 90s or 1h30m, or as a
// plain number of seconds.
type Settings struct {
	Server        Server        `yaml:"server" doc:"The public listener."`
	Admin         Admin         `yaml:"admin" doc:"The admin listener: API, console, metrics. Never on the public listener."`
	OIDC          OIDC          `yaml:"oidc" doc:"The OpenID Provider that users sign in at, and our client there."`
	SigningKey    SigningKey    `yaml:"signing_key" doc:"The key that signs client assertions; its public side is served at /.well-known/jwks.json."`
	Rotation      Rotation      `yaml:"rotation" doc:"When secrets are rotated, and how carefully."`
	Verify        Verify        `yaml:"verify" doc:"The checklist of keyway verify."`
	Audit         Audit         `yaml:"audit" doc:"The record of what was done to secrets: a chain that is kept with the store."`
	Secrets       SecretMode    `yaml:"secrets" enum:"provided|managed" default:"provided" doc:"provided: TOKEN_HASH_SALT, UA_HASH_SALT, CSRF_SECRET_KEY and STATE_TOKEN_KEY are handed in. managed: Keyway makes and keeps those that are not."`
	SecretSources SecretSources `yaml:"secret_sources" doc:"Where secrets are found, if not by their usual names."`
	Store         Store         `yaml:"store" doc:"Where sessions are kept."`
	Session       Session       `yaml:"session" doc:"How long sessions live, and what they are bound to."`
	Cookie        Cookie        `yaml:"cookie" doc:"The session cookie: bff_session, or __Host-bff_session when no domain is set and secure is on."`
	Callback      Callback      `yaml:"callback" doc:"Where the OpenID Provider sends the browser back to, and where return_to may lead."`
	Logout        Logout        `yaml:"logout" doc:"What happens at sign-out."`
	CORS          CORS          `yaml:"cors" doc:"Which other origins may call."`
	Authz         AuthzSettings `yaml:"authz" doc:"Checks by the policy decision point."`
	Limits        Limits        `yaml:"limits" doc:"What one client, and all of them, may take."`
	Log           Log           `yaml:"log" doc:"Logs go to standard error."`
	Telemetry     Telemetry     `yaml:"telemetry" doc:"Where traces go."`

	SecurityHeaders SecurityHeaders `yaml:"security_headers" doc:"What a browser is told with every answer of a route. Where the upstream says it itself, that counts."`
}

// Server is the public listener.
type Server struct {
	Host              string         `yaml:"host" env:"HOST" default:"0.0.0.0" doc:"Address to listen on."`
	Port              int            `yaml:"port" env:"PORT" default:"8000" min:"0" max:"65535" doc:"Port to listen on; 0 takes any free one."`
	TrustedProxies    []netip.Prefix `yaml:"trusted_proxies" env:"BFF_TRUSTED_PROXIES" list:"comma" doc:"CIDRs, or single addresses, whose forwarding headers are believed. None by default. At least 8 bits, IPv6 16 (or 7, of fc00::/7)."`
	ShutdownGrace     time.Duration  `yaml:"shutdown_grace" env:"BFF_SHUTDOWN_GRACE" default:"30s" min:"0s" max:"1h" doc:"How long requests under way may go on after a stop was asked for; readiness goes first, streams are told."`
	DrainDelay        time.Duration  `yaml:"drain_delay" env:"BFF_DRAIN_DELAY" default:"0s" min:"0s" max:"5m" doc:"How long everything is still served after readiness turned, for load balancers to see it. Behind Kubernetes services, 5s."`
	ReadHeaderTimeout time.Duration  `yaml:"read_header_timeout" default:"10s" min:"1s" max:"5m" doc:"How long a client may take to send its request headers."`
	IdleTimeout       time.Duration  `yaml:"idle_timeout" default:"2m" min:"1s" max:"1h" doc:"How long a connection without a request is kept open."`
}

// Admin is the admin listener.
type Admin struct {
	Addr      string `yaml:"addr" env:"BFF_ADMIN_ADDR" default:"127.0.0.1:8001" doc:"host:port of the admin listener. Whoever reaches it can read metrics; keep it off the public network."`
	TokenFile string `yaml:"token_file" env:"BFF_ADMIN_TOKEN_FILE" doc:"Path of a file with the bearer token that callers of the admin API present. Without one the API is there on a loopback address only; elsewhere it is off, and metrics stay."`
	// PublicURL is nil, or an origin: scheme and host, without path.
	PublicURL *url.URL `yaml:"public_url" env:"BFF_ADMIN_PUBLIC_URL" url:"base" doc:"Where browsers reach the console, if not by loopback: scheme and host, as in https://keyway-admin.example.com. A host of its own, not the site's."`
	Role      string   `yaml:"role" env:"BFF_ADMIN_ROLE" doc:"Who has this role at the OpenID Provider may sign in to the console. Unset: nobody signs in to it that way."`
	RoleClaim string   `yaml:"role_claim" env:"BFF_ADMIN_ROLE_CLAIM" default:"roles" doc:"Claim of the ID token that holds roles; dots go into objects, as in realm_access.roles."`
}

// OIDC is the provider that users sign in at.
type OIDC struct {
	Issuer           string    `yaml:"issuer" env:"OIDC_ISSUER" url:"issuer" doc:"Issuer of the OpenID Provider; endpoints come from its discovery document. Required to sign in."`
	Provider         string    `yaml:"provider" doc:"Alias of the provider in identities (auth:account:<provider>:<sub>). By default that of the entry in idps.yaml with the same issuer, else oidc."`
	AuthorizationURL string    `yaml:"authorization_url" env:"OIDC_AUTHORIZATION_URL" url:"endpoint" doc:"Overrides the discovered authorization endpoint."`
	TokenURL         string    `yaml:"token_url" env:"OIDC_TOKEN_URL" url:"endpoint" doc:"Overrides the discovered token endpoint."`
	ClientID         string    `yaml:"client_id" env:"AUTH_CLIENT_ID" doc:"Our client_id there. Required to sign in."`
	ClientSecret     SecretRef `yaml:"client_secret" env:"AUTH_CLIENT_SECRET" doc:"Our client secret there, for client_secret_basic and client_secret_post."`
	// ClientSecretExpiresAt is zero when nobody has said.
	ClientSecretExpiresAt time.Time  `yaml:"client_secret_expires_at" env:"AUTH_CLIENT_SECRET_EXPIRES_AT" doc:"When the provider says that the client secret ends; warned of 30, 7 and 1 days ahead. A date counts from its beginning, in UTC."`
	TokenAuthMethod       AuthMethod `yaml:"token_auth_method" env:"MS_BFF_TOKEN_AUTH_METHOD" enum:"private_key_jwt|client_secret_basic|client_secret_post|tls_client_auth" doc:"How we authenticate at the token endpoint. By default what is configured: a client secret if there is one, else private_key_jwt. tls_client_auth comes later."`
	Scopes                []string   `yaml:"scopes" env:"OIDC_SCOPES" list:"space" default:"openid profile email" doc:"Scopes to ask for; openid is needed."`
	PAR                   Switch     `yaml:"par" env:"MS_BFF_PAR_ENABLED" enum:"auto|true|false" default:"auto" doc:"Pushed authorization requests (RFC 9126). auto: whenever the provider's metadata has them."`
	DPoP                  Switch     `yaml:"dpop" env:"MS_BFF_DPOP_ENABLED" enum:"auto|true|false" default:"auto" doc:"Access tokens bound to a key of ours (RFC 9449). true: no sign-in unless the provider binds them; auto: off, since no metadata demands it."`
	JAR                   Switch     `yaml:"jar" env:"MS_BFF_JAR_ENABLED" enum:"auto|true|false" default:"auto" doc:"Authorization requests signed with the signing key (RFC 9101). auto: if the provider's metadata demands it; true: no sign-in unless the provider offers it."`
	JARM                  Switch     `yaml:"jarm" env:"MS_BFF_JARM_ENABLED" enum:"auto|true|false" default:"auto" doc:"Signed authorization responses (JARM). true: no sign-in with any other, nor unless the provider offers them; auto: off, since no metadata demands it."`
	AllowInsecureHTTP     bool       `yaml:"allow_insecure_http" env:"OIDC_ALLOW_INSECURE_HTTP" default:"false" doc:"INSECURE: allow plain http to this provider beyond loopback. Tokens and secrets then cross the network readable."`
}

// AuthMethod is a client authentication method's registered name.
type AuthMethod string

// The methods of RFC 7591 section 2 and RFC 8705 section 2.1.1.
const (
	AuthMethodDefault     AuthMethod = "" // by what is configured
	AuthPrivateKeyJWT     AuthMethod = "private_key_jwt"
	AuthClientSecretBasic AuthMethod = "client_secret_basic"
	AuthClientSecretPost  AuthMethod = "client_secret_post"
	AuthTLSClient         AuthMethod = "tls_client_auth"
)

// Switch is on, off, or left to what the provider's metadata says.
type Switch string

// The positions.
const (
	SwitchAuto Switch = "auto"
	SwitchOn   Switch = "true"
	SwitchOff  Switch = "false"
)

// SigningKey is the key behind private_key_jwt.
type SigningKey struct {
	Algorithm string    `yaml:"algorithm" enum:"ES256|PS256|RS256|EdDSA" doc:"Signature algorithm of keys that Keyway makes. By default the best that the provider's metadata allows."`
	Adopt     SecretRef `yaml:"adopt" env:"BFF_JWT_SIGNING_KEY" doc:"PEM private key to adopt as the first signing key. The variable may hold the PEM or a path to it. Without one a key is made on first start."`
	Dir       string    `yaml:"dir" env:"BFF_KEYS_DIR,KEYS_DIR" default:"./keys" doc:"Folder (mode 0700) in which keys and jwks.json live."`
}

// SecretMode says who makes the inward secrets.
type SecretMode string

// The modes.
const (
	SecretsProvided SecretMode = "provided"
	SecretsManaged  SecretMode = "managed"
)

// SecretSources names the secrets that are ours alone.
type SecretSources struct {
	Dir           string    `yaml:"dir" env:"BFF_SECRETS_DIR" default:"/run/secrets" doc:"Folder in which a secret NAME is looked for as name or na-me."`
	TokenHashSalt SecretRef `yaml:"token_hash_salt" env:"TOKEN_HASH_SALT" doc:"Salt of the hashes under which sessions are stored. Required: start is refused without it."`
	UAHashSalt    SecretRef `yaml:"ua_hash_salt" env:"UA_HASH_SALT" doc:"Salt of user-agent hashes, for session binding."`
	CSRFSecretKey SecretRef `yaml:"csrf_secret_key" env:"CSRF_SECRET_KEY" doc:"Key behind CSRF tokens."`
	StateTokenKey SecretRef `yaml:"state_token_key" env:"STATE_TOKEN_KEY" doc:"Key behind the state of sign-ins under way."`
	SessionKey    SecretRef `yaml:"session_key" env:"SESSION_KEY" doc:"Key that seals stored sessions. Managed by Keyway when it is not handed in."`
}

// Store is where sessions are kept.
type Store struct {
	RedisURL RedisURL `yaml:"redis_url" env:"REDIS_URL" doc:"redis://[user:password@]host:port[/db], or rediss:// for TLS. With ?master_set=NAME it is of a Sentinel; further addresses, of a cluster or of Sentinels, follow as &addr=host:port. The parameters master_set, addr, db, client_name, skip_verify and max_retries=0 count; others are refused. A password in it must come from ${VAR} or the environment, and REDIS_URL_FILE is not read. Unset: the embedded store."`
	DataDir  string   `yaml:"data_dir" env:"BFF_DATA_DIR" default:"./data" doc:"Folder of the embedded store's file; sessions survive a restart."`
}

// Session is how long sessions live.
type Session struct {
	Lifetime          time.Duration  `yaml:"lifetime" env:"SESSION_LIFETIME" default:"3600" min:"1s" max:"8760h" doc:"Absolute lifetime of a session, whatever it does."`
	IdleTimeout       time.Duration  `yaml:"idle_timeout" env:"SESSION_IDLE_TIMEOUT" default:"1800" min:"1s" max:"8760h" doc:"A session unused for so long ends. Never above the lifetime."`
	RefreshAhead      time.Duration  `yaml:"refresh_ahead" env:"BFF_REFRESH_AHEAD" default:"60" min:"0s" max:"1h" doc:"How long before an access token expires it is refreshed; 0: once it has expired, and not before."`
	BindAddressPrefix AddressBinding `yaml:"bind_address_prefix" off:"true" doc:"Bind a session to the network that it began in. off by default."`
	BindUserAgent     bool           `yaml:"bind_user_agent" default:"false" doc:"Bind a session to the browser's user agent."`
}

// AddressBinding is how many leading bits of an address a session is bound to;
// 0 means none of that family.
type AddressBinding struct {
	IPv4 int `yaml:"ipv4" min:"0" max:"32" default:"0" doc:"Leading bits of an IPv4 address that must stay the same, 24 for instance, at least 8; 0: not bound."`
	IPv6 int `yaml:"ipv6" min:"0" max:"128" default:"0" doc:"Leading bits of an IPv6 address that must stay the same, 56 for instance, at least 8; 0: not bound."`
}

// Enabled says whether any family is bound.
func (b AddressBinding) Enabled() bool { return b.IPv4 > 0 || b.IPv6 > 0 }

// Cookie is the session cookie.
type Cookie struct {
	Domain            string   `yaml:"domain" env:"BFF_COOKIE_DOMAIN" doc:"Domain of the cookie, to share it between hosts; not one under which others have theirs, such as co.uk. Unset: this host only, which is safer, and named __Host-."`
	Secure            bool     `yaml:"secure" env:"BFF_COOKIE_SECURE" default:"true" doc:"Send it over https only."`
	SameSite          SameSite `yaml:"same_site" env:"BFF_COOKIE_SAMESITE" enum:"Lax|Strict|None" fold:"true" default:"Lax" doc:"SameSite attribute. None needs secure."`
	RequireHostPrefix bool     `yaml:"require_host_prefix" default:"false" doc:"Refuse a configuration in which the cookie would lose its __Host- prefix."`
}

// SameSite is the cookie attribute's value.
type SameSite string

// The values.
const (
	SameSiteLax    SameSite = "Lax"
	SameSiteStrict SameSite = "Strict"
	SameSiteNone   SameSite = "None"
)

// HostOnly says whether the session cookie has the __Host- prefix.
func (c Cookie) HostOnly() bool { return c.Domain == "" && c.Secure }

// SessionName is the session cookie's name.
func (c Cookie) SessionName() string {
	if c.HostOnly() {
		return "__Host-bff_session"
	}
	return "bff_session"
}

// Callback says where a sign-in may come back to.
type Callback struct {
	Dynamic              bool     `yaml:"dynamic" env:"BFF_DYNAMIC_CALLBACK" default:"false" doc:"Take the callback's host from the request, if it is among allowed_redirect_hosts."`
	URL                  *url.URL `yaml:"url" env:"BFF_CALLBACK_URL" url:"endpoint" doc:"The callback as registered at the provider; its path is /auth/callback."`
	DefaultHost          string   `yaml:"default_host" env:"BFF_DEFAULT_HOST" doc:"Public host, with its port if it is not the usual one, when no url is set."`
	DefaultScheme        string   `yaml:"default_scheme" env:"BFF_DEFAULT_SCHEME" enum:"https|http" default:"https" doc:"Scheme that goes with default_host, and with the host of a dynamic callback."`
	AllowedRedirectHosts []string `yaml:"allowed_redirect_hosts" env:"BFF_ALLOWED_REDIRECT_HOSTS" list:"comma" doc:"Hosts that a dynamic callback may have, exactly, with the port if it is not the usual one."`
	PostLogoutPath       string   `yaml:"post_logout_path" env:"BFF_POST_LOGOUT_PATH" default:"/" doc:"Where a user is after sign-out: a path of this site, with a query if you like. The provider has to know its whole URL as a post-logout redirect URI."`
}

// CallbackPath is where sign-ins come back to.
const CallbackPath = "/auth/callback"

// Static is the callback when it does not depend on the request; nil if it does.
func (c Callback) Static() *url.URL {
	switch {
	case c.URL != nil:
		u := *c.URL
		return &u
	case c.DefaultHost != "":
		return &url.URL{Scheme: c.DefaultScheme, Host: c.DefaultHost, Path: CallbackPath}
	}
	return nil
}

// Logout is what happens at sign-out.
type Logout struct {
	ClearSiteData []string `yaml:"clear_site_data" list:"comma" default:"cache storage" doc:"What the browser is told to throw away of this site, over https: cache, storage, executionContexts (Clear-Site-Data). An empty list: nothing."`
}

// SecurityHeaders are what upstreams' pages are protected by where they say nothing.
type SecurityHeaders struct {
	HSTS               time.Duration  `yaml:"hsts" default:"8760h" min:"0s" max:"87600h" doc:"For how long a browser is to come by https only (Strict-Transport-Security). Told only over https; 0: not told."`
	FrameOptions       FrameOptions   `yaml:"frame_options" enum:"DENY|SAMEORIGIN|off" fold:"true" default:"SAMEORIGIN" doc:"Who may show our pages in a frame (X-Frame-Options). A Content-Security-Policy of the upstream with frame-ancestors counts instead."`
	ReferrerPolicy     ReferrerPolicy `yaml:"referrer_policy" enum:"no-referrer|no-referrer-when-downgrade|origin|origin-when-cross-origin|same-origin|strict-origin|strict-origin-when-cross-origin|unsafe-url|off" fold:"true" default:"strict-origin-when-cross-origin" doc:"How much of our addresses other sites see (Referrer-Policy)."`
	ContentTypeOptions bool           `yaml:"content_type_options" default:"true" doc:"That the browser is to believe Content-Type (X-Content-Type-Options: nosniff)."`
}

// FrameOptions is a value of X-Frame-Options, or off.
type FrameOptions string

// ReferrerPolicy is a value of Referrer-Policy, or off.
type ReferrerPolicy string

// HeaderOff is the value with which a header is not sent.
const HeaderOff = "off"

// CORS is who else may call.
type CORS struct {
	AllowOrigins []string `yaml:"allow_origins" env:"CORS__ALLOW_ORIGINS" list:"json" doc:"Exact origins that may call with credentials, as in https://app.example.com. The variable holds a JSON array. None by default."`
}

// AuthzSettings is the kill switch, and what is told of decisions.
type AuthzSettings struct {
	Enabled bool        `yaml:"enabled" env:"MS_BFF_AUTHZ_ENABLED" default:"true" doc:"Ask the policy decision point where a route says so. false switches all checks OFF: every signed-in user may do everything that a route offers."`
	Events  AuthzEvents `yaml:"events" enum:"all|denied|off" default:"all" doc:"Which decisions of the policy decision point are told to the sinks of audit as AUTHZ_DECISION. denied: refused requests; what pages ask about what their users may do is told with all alone."`
}

// AuthzEvents is which decisions are told.
type AuthzEvents string

// The choices.
const (
	AuthzEventsAll    AuthzEvents = "all"
	AuthzEventsDenied AuthzEvents = "denied"
	AuthzEventsOff    AuthzEvents = "off"
)

// Limits bound what clients may take.
type Limits struct {
	HeaderBytes        int `yaml:"header_bytes" default:"32768" min:"4096" max:"1048576" doc:"Size of a request's headers, in bytes."`
	BodyBytes          int `yaml:"body_bytes" default:"0" min:"0" doc:"Size of a proxied request's body, in bytes; 0: no limit, bodies are streamed."`
	ConcurrentRequests int `yaml:"concurrent_requests" default:"0" min:"0" doc:"Requests under way at once, in one process; 0: no limit."`
	StreamsPerSession  int `yaml:"streams_per_session" default:"32" min:"1" max:"10000" doc:"Event streams and WebSockets that one session may hold open."`
	Connections        int `yaml:"connections" default:"0" min:"0" doc:"Connections to the public listener at once, in one process; one more is closed unanswered. 0: as many as the system gives."`
	// Rates are per address prefix, that of questions per account, and shared by replicas.
	Rates Rates `yaml:"rates" doc:"How often one address prefix, or one account, may do what costs us or somebody else something. Replicas count together. Beyond it the answer is 429."`
}

// Rates are limits for strangers, and of what pages ask.
type Rates struct {
	IPv4Prefix        int        `yaml:"ipv4_prefix" default:"32" min:"8" max:"32" doc:"Leading bits of an IPv4 address that count as one."`
	IPv6Prefix        int        `yaml:"ipv6_prefix" default:"64" min:"16" max:"128" doc:"Leading bits of an IPv6 address that count as one."`
	SignIn            limit.Rate `yaml:"sign_in" default:"300/1m" doc:"Sign-ins that are begun."`
	Callback          limit.Rate `yaml:"callback" default:"300/1m" doc:"Callbacks from the provider."`
	BackchannelLogout limit.Rate `yaml:"backchannel_logout" default:"3000/1m" doc:"Logout tokens that were refused. What the provider signed is obeyed however many came before."`
	RefusedTokens     limit.Rate `yaml:"refused_tokens" default:"120/1m" doc:"Access tokens that were refused; beyond it no provider is asked about one for a while; those that its keys prove pass."`
	Questions         limit.Rate `yaml:"questions" default:"6000/1m" doc:"What a page asks about what its user may do (/auth/capabilities, /access/v1/), counted by account: each action, and each evaluation, is one."`
}

// Log is how logs are written.
type Log struct {
	Level  string `yaml:"level" env:"LOG_LEVEL" enum:"debug|info|warn|error" fold:"true" default:"info" doc:"The least severe level that is written."`
	Format string `yaml:"format" env:"LOG_FORMAT" enum:"auto|json|text" fold:"true" default:"auto" doc:"auto: text on a terminal, else JSON."`
}

// Telemetry is where traces go.
type Telemetry struct {
	OTLPEndpoint string `yaml:"otlp_endpoint" env:"OTEL_EXPORTER_OTLP_ENDPOINT" doc:"Base URL of an OpenTelemetry collector that takes OTLP over HTTP, as in http://collector:4318: traces are on. The other OTEL_ variables count as usual."`
}

package config

import (
	"net/url"
	"time"

	"keyway/internal/authz"
	"keyway/internal/limit"
	"keyway/internal/route"
)

// routesFile is routes.yaml.
type routesFile struct {
	Services map[string]Service `yaml:"services" doc:"Upstreams by name. A name has letters, digits, - and _."`
	Routes   []routeEntry       `yaml:"routes" doc:"Which request goes where. Two routes that could both match are an error."`
}

// Service is an upstream.
type Service struct {
	BaseURL           *url.URL      `yaml:"base_url" url:"base" required:"true" doc:"Where it is, as in https://notes.internal:8443/v1. Its path comes before upstream_path."`
	Timeout           time.Duration `yaml:"timeout" default:"30s" min:"1ms" max:"1h" doc:"How long an exchange may take, from the request to the last byte of the answer; on a route with streaming, how long until the answer begins."`
	TLS               ServiceTLS    `yaml:"tls" doc:"TLS towards this service."`
	AllowInsecureHTTP bool          `yaml:"allow_insecure_http" default:"false" doc:"INSECURE: allow plain http to this service beyond loopback. Tokens then cross the network readable."`
}

// ServiceTLS is how an upstream is trusted, and how it can trust us.
type ServiceTLS struct {
	CAFile     string    `yaml:"ca_file" doc:"PEM file of the authorities to trust instead of the system's."`
	ServerName string    `yaml:"server_name" doc:"Name to expect in the certificate, if not the one in base_url."`
	CertFile   string    `yaml:"cert_file" doc:"PEM file of our client certificate; needs key."`
	Key        SecretRef `yaml:"key" doc:"PEM private key of cert_file."`
}

type routeEntry struct {
	ID            string             `yaml:"id" doc:"Name in logs and messages; by default the path."`
	Description   string             `yaml:"description" doc:"For people."`
	Path          string             `yaml:"path" required:"true" doc:"What it matches: literal segments, {param} for one segment, and * at the end for whatever follows."`
	TargetService string             `yaml:"target_service" required:"true" doc:"One of services."`
	UpstreamPath  string             `yaml:"upstream_path" doc:"Path to ask the upstream for; {path} at the end is what * matched, {param} what a parameter did. By default the path as it came."`
	PreservePath  bool               `yaml:"preserve_path" default:"false" doc:"Keep the path as it came. So it is without upstream_path anyway."`
	Methods       []string           `yaml:"methods" enum:"GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS" doc:"Methods that it answers; GET includes HEAD. By default all of these."`
	Auth          route.Auth         `yaml:"auth" enum:"session|bearer|none" default:"session" doc:"Who may call: a signed-in browser, a client with an access token of an entry of idps.yaml, anyone."`
	Authz         route.Authz        `yaml:"authz" enum:"none|pdp" default:"none" doc:"Whether the policy decision point is asked, as pdp.yaml says."`
	AuthzMap      map[string]Mapping `yaml:"authz_map" doc:"By method, what the policy decision point is asked."`
	Streaming     bool               `yaml:"streaming" default:"false" doc:"Answers are streams, server-sent events or a WebSocket: flushed at once, no timeout once they began, ended when the session ends."`
	TokenPolicy   tokenPolicyEntry   `yaml:"token_policy" doc:"Which token the upstream gets. Issuing one fails closed: 502 upstream_auth_failed."`
	Bearer        bearerEntry        `yaml:"bearer" doc:"With auth: bearer, what a token must be good for here, beyond what its entry of idps.yaml asks."`
	Limits        routeLimits        `yaml:"limits" doc:"What this route takes, beside the limits of settings.yaml."`
}

type bearerEntry struct {
	Audience []string `yaml:"audience" list:"comma" doc:"One of these must be in the token's audience; each must be among those of an entry of idps.yaml. By default one of the entry's is enough."`
	Scopes   []string `yaml:"scopes" list:"space" doc:"The token must have all of these, or the answer is 403 insufficient_scope."`
	IdPs     []string `yaml:"idps" list:"comma" doc:"Names of entries of idps.yaml whose tokens are accepted here. By default any."`
}

type routeLimits struct {
	BodyBytes          int        `yaml:"body_bytes" default:"0" min:"0" doc:"Size of a request's body, in bytes; 0: that of settings.yaml."`
	Rate               limit.Rate `yaml:"rate" default:"off" doc:"Requests of one caller in so long, as in 60/1m; off: no limit. A caller is who is signed in or whose token it is, else an address prefix. Each replica counts by itself."`
	ConcurrentRequests int        `yaml:"concurrent_requests" default:"0" min:"0" doc:"Requests under way at once, of all callers, in one process; 0: no limit of its own."`
}

type tokenPolicyEntry struct {
	Mode     route.TokenMode `yaml:"mode" enum:"session_passthrough|service_token|on_behalf_of|none" doc:"session_passthrough: the session's access token (default where auth is session). service_token: one by client credentials. on_behalf_of: one exchanged for the user (later). none: no token."`
	Audience string          `yaml:"audience" doc:"Audience to ask for, with service_token and on_behalf_of. One that is a URI is sent as resource (RFC 8707) too."`
	Scopes   []string        `yaml:"scopes" list:"space" doc:"Scopes to ask for, with service_token and on_behalf_of."`
}

// Mapping is what the PDP is asked; route.Mapping with its keys.
type Mapping struct {
	Resource string            `yaml:"resource" required:"true" doc:"Resource type."`
	Action   string            `yaml:"action" required:"true" doc:"Action name."`
	IDFrom   string            `yaml:"id_from" doc:"Where the resource's id is: {param} of the path, ?name of the query, or $.a.b (RFC 9535) of a JSON body, which must be one value; or =text, always that. By default no one in particular."`
	Props    map[string]string `yaml:"props" doc:"Resource properties: {param}, ?name, $.a.b, or any other text, which is a constant; =text is one whatever it looks like."`
}

// idpsFile is idps.yaml.
type idpsFile struct {
	IdPs []IdP `yaml:"idps" doc:"Providers whose access tokens are accepted. A presented token selects its entry by issuer and audience; an opaque one is introspected at the entries that allow it."`
}

// IdP is one provider whose tokens are accepted.
type IdP struct {
	Name             string    `yaml:"name" required:"true" doc:"Name in messages and metrics."`
	Provider         string    `yaml:"provider" doc:"Alias in identities (auth:account:<provider>:<sub>); by default the name."`
	Issuer           string    `yaml:"issuer" url:"issuer" required:"true" doc:"Issuer, exactly as in its tokens."`
	Audience         []string  `yaml:"audience" list:"comma" doc:"Audiences that its tokens may have; one or a list. Routes with auth: bearer accept no tokens of an entry without one."`
	JWKSURL          string    `yaml:"jwks_url" url:"endpoint" doc:"Its keys; by discovery when left out."`
	IntrospectionURL string    `yaml:"introspection_url" url:"endpoint" doc:"Where opaque tokens are introspected, and JWTs that do not say at+jwt; by discovery when left out. Needs client_id: an entry without one is not asked."`
	TokenURL         string    `yaml:"token_url" url:"endpoint" doc:"Token endpoint; by discovery when left out."`
	ClientID         string    `yaml:"client_id" doc:"Our client_id there, for introspection and token exchange."`
	ClientSecret     SecretRef `yaml:"client_secret" doc:"Our client secret there."`
	// ClientSecretExpiresAt is zero when nobody has said.
	ClientSecretExpiresAt   time.Time     `yaml:"client_secret_expires_at" doc:"When the provider says that the client secret ends; warned of 30, 7 and 1 days ahead. A date counts from its beginning, in UTC."`
	TokenEndpointAuthMethod AuthMethod    `yaml:"token_endpoint_auth_method" enum:"private_key_jwt|client_secret_basic|client_secret_post|tls_client_auth" doc:"How we authenticate there. By default what is configured. tls_client_auth comes later."`
	EnableTokenExchange     bool          `yaml:"enable_token_exchange" default:"false" doc:"Tokens may be exchanged there (RFC 8693)."`
	ClaimsMapping           ClaimsMapping `yaml:"claims_mapping" doc:"Which claims say what a caller may do: of its access tokens, and, if users sign in at this issuer, of their ID token and UserInfo."`
	IntrospectionResponse   string        `yaml:"introspection_response" enum:"auto|json|jwt" default:"auto" doc:"What an answer to introspection has to be. jwt: a signed one (RFC 9701), and nothing else. auto: a signed one is asked for where the metadata offers it, and plain JSON is taken, too."`
	OpaqueTokens            bool          `yaml:"opaque_tokens" default:"true" doc:"Tokens that do not say whose they are, are introspected here. Where a route accepts several entries, each sees such a token until one knows it: false keeps those of others from this one."`
	AllowInsecureHTTP       bool          `yaml:"allow_insecure_http" default:"false" doc:"INSECURE: allow plain http to this provider beyond loopback."`
}

// ClaimsMapping says where roles and permissions are.
type ClaimsMapping struct {
	Roles       []ClaimSource `yaml:"roles" doc:"Claims that hold roles."`
	Permissions []ClaimSource `yaml:"permissions" doc:"Claims that hold permissions."`
}

// ClaimSource is one claim.
type ClaimSource struct {
	Source string `yaml:"source" required:"true" doc:"Claim name, as in https://app.example.com/roles; where no claim has that whole name, dots go into objects, as in realm_access.roles."`
	Format string `yaml:"format" enum:"space_delimited" doc:"space_delimited splits a string. By default a list, or one value."`
}

// PDP is pdp.yaml.
type PDP struct {
	Connection      PDPConnection     `yaml:"connection" doc:"Where the policy decision point is (AuthZEN 1.0)."`
	Policies        string            `yaml:"policies" doc:"Folder of Cedar policies (*.cedar, and schema.cedarschema if there is one): the decision point is in this process, and there is no connection. Relative to the working directory. A change is seen within a second."`
	Endpoints       PDPEndpoints      `yaml:"endpoints" doc:"Paths below base_url."`
	SubjectID       authz.SubjectForm `yaml:"subject_id" enum:"account|sub" default:"account" doc:"What a subject's id is. account: auth:account:<provider>:<sub>, which no two people share. sub: as the provider gives it, for decision points that know one provider's people only."`
	SubjectType     string            `yaml:"subject_type" default:"user" doc:"What the type of a subject is who is a person, such as user, or identity. A client that acts for itself is always a client."`
	Cache           PDPCache          `yaml:"cache" doc:"Decisions that are remembered."`
	Retry           PDPRetry          `yaml:"retry" doc:"Another try when it fails; never after an answer."`
	CircuitBreaker  PDPCircuitBreaker `yaml:"circuit_breaker" doc:"A failing decision point is left alone for a while; meanwhile the answer is 403. By the account whose questions fail; by all, if a question of our own fails, too."`
	BodyBytes       int               `yaml:"body_bytes" default:"65536" min:"0" max:"16777216" doc:"How much of a JSON body is read to put a question, in bytes; a larger one is 413. Only where a mapping reads the body."`
	EndpointMap     EndpointMap       `yaml:"endpoint_map" doc:"Older form of mapping: path, then method. Asked after a route's own authz_map. A path is written as in routes, and has to take in all that the route takes."`
	DerivedDefaults bool              `yaml:"derived_defaults" default:"false" doc:"Where nothing is mapped, derive resource and action from path and method. Otherwise the answer is 403."`
	Strict          bool              `yaml:"authz_validation_strict" default:"false" doc:"Refuse a configuration in which a route with authz: pdp has a method without a mapping. Otherwise that is a note, and the answer 403."`
}

// EndpointMap is mappings by path, then by method.
type EndpointMap map[string]map[string]Mapping

// Configured says whether there is a decision point at all.
func (p PDP) Configured() bool { return p.Connection.BaseURL != nil || p.Embedded() }

// Embedded says whether it is in this process.
func (p PDP) Embedded() bool { return p.Policies != "" }

// PDPConnection is where the decision point is.
type PDPConnection struct {
	BaseURL           *url.URL       `yaml:"base_url" url:"base" doc:"Where it is. It, or policies, is required when a route has authz: pdp."`
	Timeout           time.Duration  `yaml:"timeout" default:"2s" min:"1ms" max:"1m" doc:"How long one answer may take."`
	Credentials       PDPCredentials `yaml:"credentials" doc:"How we authenticate there."`
	CAFile            string         `yaml:"ca_file" doc:"PEM file of the authorities to trust instead of the system's."`
	AllowInsecureHTTP bool           `yaml:"allow_insecure_http" default:"false" doc:"INSECURE: allow plain http to it beyond loopback. Whoever is in between then decides."`
}

// PDPCredentials is how we authenticate at the decision point.
type PDPCredentials struct {
	Method       string    `yaml:"method" enum:"none|bearer|client_credentials" default:"none" doc:"none; bearer: a fixed token; client_credentials: a token from token_url."`
	Token        SecretRef `yaml:"token" doc:"The token, with bearer."`
	TokenURL     string    `yaml:"token_url" url:"endpoint" doc:"Token endpoint, with client_credentials; by default that of the sign-in provider."`
	ClientID     string    `yaml:"client_id" doc:"Client, with client_credentials."`
	ClientSecret SecretRef `yaml:"client_secret" doc:"Its secret, with client_credentials."`
	Scopes       []string  `yaml:"scopes" list:"space" doc:"Scopes to ask for, with client_credentials."`
}

// PDPEndpoints are the paths of AuthZEN.
type PDPEndpoints struct {
	Evaluation  string `yaml:"evaluation" default:"/access/v1/evaluation" doc:"One decision."`
	Evaluations string `yaml:"evaluations" default:"/access/v1/evaluations" doc:"Several at once."`
}

// PDPCache bounds how long decisions are remembered.
type PDPCache struct {
	TTLAllow time.Duration `yaml:"ttl_allow" default:"30s" min:"0s" max:"1h" doc:"How long an allow is remembered; 0: not at all."`
	TTLDeny  time.Duration `yaml:"ttl_deny" default:"5s" min:"0s" max:"1h" doc:"How long a deny is remembered; 0: not at all."`
	MaxSize  int           `yaml:"max_size" default:"10000" min:"0" max:"10000000" doc:"How many decisions are remembered."`
}

// PDPRetry bounds retries.
type PDPRetry struct {
	MaxAttempts int           `yaml:"max_attempts" default:"2" min:"1" max:"5" doc:"Tries in all, within the timeout."`
	Backoff     time.Duration `yaml:"backoff" default:"50ms" min:"0s" max:"10s" doc:"Pause before the second try; doubles."`
}

// PDPCircuitBreaker says when to leave the decision point alone.
type PDPCircuitBreaker struct {
	Failures int           `yaml:"failures" default:"5" min:"1" max:"1000" doc:"Failures in a row that open it. A status 500 is none: it may be of one question alone."`
	OpenFor  time.Duration `yaml:"open_for" default:"10s" min:"100ms" max:"10m" doc:"How long it stays open before one try."`
}

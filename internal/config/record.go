package config

import (
	"net/url"
	"time"
)

// Audit is the record of what was done to secrets, and where it goes besides
// the store.
type Audit struct {
	Retention time.Duration `yaml:"retention" env:"BFF_AUDIT_RETENTION" default:"9528h" min:"24h" max:"87600h" doc:"How long an entry is kept. By default 397 days: a year, and a month to look back on it."`
	Log       bool          `yaml:"log" default:"true" doc:"Write each entry as a log line, too."`
	Push      AuditPush     `yaml:"push" doc:"Send each entry as a signed security event token (RFC 8417), by HTTP push (RFC 8935)."`
	Kafka     AuditKafka    `yaml:"kafka" doc:"Send each entry to a topic of Kafka."`
}

// AuditPush is a receiver of security event tokens.
type AuditPush struct {
	URL      *url.URL  `yaml:"url" url:"endpoint" doc:"The receiver's endpoint. Unset: nothing is pushed."`
	Audience string    `yaml:"audience" doc:"Audience (aud) of the tokens, as the receiver expects it. Required with url."`
	Token    SecretRef `yaml:"token" doc:"Bearer token that the receiver asks for, if it does."`
}

// Enabled says whether there is a receiver.
func (p AuditPush) Enabled() bool { return p.URL != nil }

// AuditKafka is a topic of Kafka.
type AuditKafka struct {
	Brokers  []string  `yaml:"brokers" env:"KAFKA_BOOTSTRAP_SERVERS" list:"comma" doc:"Addresses to begin with, host:port; without a port it is 9092. Unset: nothing goes to Kafka."`
	Topic    string    `yaml:"topic" default:"keyway.audit" doc:"The topic. Keyway does not make it."`
	Envelope string    `yaml:"envelope" enum:"plain|cloudevents" default:"plain" doc:"plain: the entry as it is in the chain. cloudevents: as data of a CloudEvents 1.0 event in JSON."`
	TLS      bool      `yaml:"tls" default:"false" doc:"Speak TLS with the brokers, and check their certificates by the system's authorities."`
	Username string    `yaml:"username" doc:"Who we are there (SASL). Needs password."`
	Password SecretRef `yaml:"password" doc:"Our password there. Needs username."`
}

// The envelopes.
const (
	EnvelopePlain       = "plain"
	EnvelopeCloudEvents = "cloudevents"
)

// Enabled says whether there are brokers.
func (k AuditKafka) Enabled() bool { return len(k.Brokers) > 0 }

// Verify is how the checklist is run.
type Verify struct {
	AfterRotation bool          `yaml:"after_rotation" default:"true" doc:"Run it after each rotation. A failure within the guard window leads back to the previous version."`
	Account       VerifyAccount `yaml:"account" doc:"A test account at the OpenID Provider: with one, the whole sign-in is checked, too. It should be allowed nothing."`
}

// VerifyAccount is whom the checklist signs in as.
type VerifyAccount struct {
	Username string    `yaml:"username" doc:"Its user name. Needs password."`
	Password SecretRef `yaml:"password" doc:"Its password. Needs username."`
}

// Enabled says whether there is a test account.
func (a VerifyAccount) Enabled() bool { return a.Username != "" }

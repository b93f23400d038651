package config

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Without a word in the configuration the record is kept for 397 days and
// logged, the checklist runs after each rotation, and nobody else is involved.
func TestRecordByDefault(t *testing.T) {
	c := mustLoad(t, nil)
	want := Audit{Retention: 397 * day, Log: true, Kafka: AuditKafka{Topic: "keyway.audit", Envelope: EnvelopePlain}}
	if d := cmp.Diff(want, c.Audit); d != "" {
		t.Error(d)
	}
	if c.Audit.Push.Enabled() || c.Audit.Kafka.Enabled() || c.Verify.Account.Enabled() || !c.Verify.AfterRotation {
		t.Errorf("audit %+v, verify %+v", c.Audit, c.Verify)
	}
	if a := c.Admin; a.PublicURL != nil || a.Role != "" || a.RoleClaim != "roles" {
		t.Errorf("admin %+v", a)
	}
	if !c.OIDC.ClientSecretExpiresAt.IsZero() {
		t.Errorf("client secret ends at %v", c.OIDC.ClientSecretExpiresAt)
	}
}

// What the complete example says arrives where it is read.
func TestRecordAsWritten(t *testing.T) {
	text := func(name string) string {
		b, err := os.ReadFile("testdata/examples/complete/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	c := mustLoad(t, map[string]string{SettingsFile: text("settings.yaml"), IdPsFile: text("idps.yaml")}, "PUBLIC_HOST=app.example.com", "REDIS_PASSWORD=x")
	ref := func(path string) SecretRef { return SecretRef{Kind: SecretFile, Name: path} }
	wantKafka := AuditKafka{
		Brokers: []string{"k1.internal:9092", "kafka_2"}, Topic: "security.keyway", Envelope: EnvelopeCloudEvents, TLS: true,
		Username: "keyway", Password: ref("/run/secrets/kafka-password"),
	}
	if d := cmp.Diff(wantKafka, c.Audit.Kafka); d != "" {
		t.Error(d)
	}
	p := c.Audit.Push
	if p.URL.String() != "https://events.example.com/set?tenant=1" || p.Audience != "https://events.example.com" || p.Token != (SecretRef{Kind: SecretEnv, Name: "EVENTS_TOKEN"}) {
		t.Errorf("push %+v", p)
	}
	if c.Audit.Log || c.Audit.Retention != 730*day {
		t.Errorf("audit %+v", c.Audit)
	}
	if d := cmp.Diff(VerifyAccount{Username: "keyway-probe", Password: ref("/run/secrets/probe-password")}, c.Verify.Account); d != "" {
		t.Error(d)
	}
	if a := c.Admin; a.PublicURL.String() != "https://keyway-admin.example.com" || a.Role != "keyway-admin" || a.RoleClaim != "realm_access.roles" {
		t.Errorf("admin %+v", a)
	}
	if at := c.OIDC.ClientSecretExpiresAt; !at.Equal(time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("client secret ends at %v", at)
	}
	if at := c.IdPs[0].ClientSecretExpiresAt; !at.Equal(time.Date(2027, 3, 1, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("client secret of idps[0] ends at %v", at)
	}
}

func TestRecordFromVariables(t *testing.T) {
	c := mustLoad(t, nil, "KAFKA_BOOTSTRAP_SERVERS=k1:9092, k2:9092", "BFF_AUDIT_RETENTION=24h", "OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=x",
		"BFF_CALLBACK_URL=https://app.example.com/auth/callback", "BFF_ADMIN_PUBLIC_URL=http://localhost:9001", "BFF_ADMIN_ROLE=ops", "BFF_ADMIN_ROLE_CLAIM=groups",
		"AUTH_CLIENT_SECRET_EXPIRES_AT=2027-03-01T00:00:00+02:00")
	if d := cmp.Diff([]string{"k1:9092", "k2:9092"}, c.Audit.Kafka.Brokers); d != "" {
		t.Error(d)
	}
	if c.Audit.Retention != day || c.Admin.PublicURL.Host != "localhost:9001" || c.Admin.Role != "ops" || c.Admin.RoleClaim != "groups" {
		t.Errorf("audit %+v, admin %+v", c.Audit, c.Admin)
	}
	if at := c.OIDC.ClientSecretExpiresAt; !at.Equal(time.Date(2027, 2, 28, 22, 0, 0, 0, time.UTC)) {
		t.Errorf("client secret ends at %v", at)
	}
	for _, n := range c.Notes {
		t.Errorf("a note: %v", n)
	}
}

// What is allowed and probably not meant.
func TestRecordNotes(t *testing.T) {
	for name, test := range map[string]struct {
		yaml, want string
	}{
		"password without tls": {
			"audit: {kafka: {brokers: ['k:9092'], username: keyway, password: '${P}'}}",
			"config/settings.yaml:1:48: audit.kafka.username: a password for brokers, without tls; tls: true",
		},
		"the site's host": {
			"admin: {public_url: 'https://app.example.com:9001'}\ncallback: {default_host: app.example.com}",
			`config/settings.yaml:1:21: admin.public_url: the console has the site's host "app.example.com"; a host of its own`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustLoad(t, map[string]string{SettingsFile: test.yaml})
			if len(c.Notes) != 1 || !strings.Contains(c.Notes[0].Error(), strings.TrimPrefix(test.want, "config/")) {
				t.Errorf("expected %q, found %v", test.want, c.Notes)
			}
		})
	}
}

// A console that signs people in needs no token to be of use beyond loopback.
func TestConsoleBeyondLoopback(t *testing.T) {
	c := mustLoad(t, nil, "BFF_ADMIN_ADDR=0.0.0.0:8001", "BFF_ADMIN_ROLE=ops", "OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=x",
		"BFF_CALLBACK_URL=https://app.example.com/auth/callback")
	if len(c.Notes) != 1 || strings.Contains(c.Notes[0].Error(), "off") || !strings.Contains(c.Notes[0].Error(), "only operators") {
		t.Errorf("notes %v", c.Notes)
	}
}

func TestBrokers(t *testing.T) {
	for text, ok := range map[string]bool{
		"k:9092": true, "k": true, "kafka_1:9092": true, "a.b-c.internal.:9093": true, "10.0.0.1:9092": true, "[::1]:9092": true, "::1": true,
		"": false, "k:": false, "k:0": false, "k:65536": false, "k:x": false, "http://k:9092": false, "u@k:9092": false, "k/1": false, "-k": false, "k..x": false,
	} {
		if isBroker(text) != ok {
			t.Errorf("%q: expected %v", text, ok)
		}
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
		"2027-03-01": "2027-03-01T00:00:00Z", "2027-03-01T12:00:00.5Z": "2027-03-01T12:00:00.5Z", "2027-03-01T12:00:00-01:00": "2027-03-01T13:00:00Z",
		"2027-3-1": "", "2027-02-30": "", "2027-03-01 12:00": "", "2027-03-01T12:00:00": "", "1767225600": "", "never": "",
	} {
		at, err := parseTime(text)
		if want == "" && err == nil || want != "" && (err != nil || at.Format(time.RFC3339Nano) != want) {
			t.Errorf("%s: %v (%v), expected %q", text, at, err, want)
		}
	}
}

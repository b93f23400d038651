package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"keyway/internal/audit"
	"keyway/internal/secret"
)

// The envelopes.
const (
	Plain       = "plain"       // the value is the entry as it is in the chain, byte for byte
	CloudEvents = "cloudevents" // CloudEvents 1.0 in JSON, structured, with the entry as data
)

// Key is the key of all records: what has one key is in one partition.
const Key = "keyway-audit"

// Options of a Sink. Brokers and Topic are needed.
type Options struct {
	Brokers  []string // host:port
	Topic    string
	Envelope string // Plain if empty
	// Source is the source of CloudEvents: the gateway's URL.
	Source string
	TLS    *tls.Config // nil: without
	// Username and Password sign us in by the first of SCRAM-SHA-512, SCRAM-SHA-256
	// and, over TLS only, PLAIN that the brokers offer. Password is called for each
	// connection. Without Username nobody signs in.
	Username string
	Password func() (secret.Value, error)
	Timeout  time.Duration // of a delivery; 15 s if 0
}

// Sink is an audit.Sink. It is safe for concurrent use.
type Sink struct {
	o      Options
	client *kgo.Client
}

var _ audit.Sink = (*Sink)(nil)

// New builds a Sink. It connects when there is something to deliver. Close it.
func New(o Options) (*Sink, error) {
	if len(o.Brokers) == 0 || o.Topic == "" || o.Username != "" && o.Password == nil {
		return nil, errors.New("audit kafka: expected brokers and a topic, and a password with a user name")
	}
	switch o.Envelope {
	case "":
		o.Envelope = Plain
	case Plain, CloudEvents:
	default:
		return nil, fmt.Errorf("audit kafka: expected the envelope %s or %s, found %.20q", Plain, CloudEvents, o.Envelope)
	}
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	opts := []kgo.Opt{
		kgo.ClientID("keyway"),
		kgo.SeedBrokers(o.Brokers...),
		kgo.DefaultProduceTopic(o.Topic),
		kgo.RequiredAcks(kgo.AllISRAcks()), // with an idempotent producer, which is the default
		// A delivery that timed out must not go on by itself: the same entries are
		// produced again.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.DialTimeout(5 * time.Second),
		kgo.RetryTimeout(o.Timeout),
		kgo.UnknownTopicRetries(2),
		kgo.MetadataMinAge(250 * time.Millisecond), // so that a topic that is not there is soon known to be
		kgo.ProducerLinger(0),
	}
	if o.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(o.TLS))
	}
	if o.Username != "" {
		opts = append(opts, kgo.SASL(mechanisms(o)...))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("audit kafka: %w", err)
	}
	return &Sink{o, client}, nil
}

func mechanisms(o Options) []sasl.Mechanism {
	scrams := func(context.Context) (scram.Auth, error) {
		password, err := o.Password()
		return scram.Auth{User: o.Username, Pass: string(password.Reveal())}, err
	}
	all := []sasl.Mechanism{scram.Sha512(scrams), scram.Sha256(scrams)}
	if o.TLS != nil { // else whoever listens has the password
		all = append(all, plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := o.Password()
			return plain.Auth{User: o.Username, Pass: string(password.Reveal())}, err
		}))
	}
	return all
}

// Close ends what is under way.
func (s *Sink) Close() error {
	s.client.Close()
	return nil
}

// Name implements audit.Sink.
func (*Sink) Name() string { return "kafka" }

// Deliver implements audit.Sink.
func (s *Sink) Deliver(ctx context.Context, entries []audit.Entry) (done int, err error) {
	records := make([]*kgo.Record, len(entries))
	for i, e := range entries {
		if records[i], err = s.record(e); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	results := s.client.ProduceSync(ctx, records...)
	failed := map[*kgo.Record]error{}
	for _, r := range results {
		if r.Err != nil {
			failed[r.Record] = r.Err
		}
	}
	for i, r := range records {
		if err := failed[r]; err != nil {
			return i, fmt.Errorf("audit kafka: topic %s: %w", s.o.Topic, err)
		}
	}
	return len(entries), nil
}

func (s *Sink) record(e audit.Entry) (*kgo.Record, error) {
	r := &kgo.Record{Key: []byte(Key), Value: e.Line, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/json")}}}
	if s.o.Envelope == Plain {
		return r, nil
	}
	// The binding for Kafka, structured (section 3.3).
	r.Headers[0].Value = []byte("application/cloudevents+json; charset=UTF-8")
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // the data are byte for byte those of the chain
	err := encoder.Encode(cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: s.o.Source, Type: "dev.keyway.audit." + e.Type, Time: e.At.Format(time.RFC3339Nano),
		Subject: e.Secret, ContentType: "application/json", Data: e.Line,
	})
	if err != nil {
		return nil, fmt.Errorf("audit kafka: entry %d can't be put into an envelope", e.Seq)
	}
	r.Value = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	return r, nil
}

// cloudEvent is CloudEvents 1.0 in JSON.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Time        string          `json:"time"`
	Subject     string          `json:"subject,omitempty"`
	ContentType string          `json:"datacontenttype"`
	Data        json.RawMessage `json:"data"`
}

package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"keyway/internal/audit"
	"keyway/internal/secret"
)

const topic = "keyway.audit"

func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(5, topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func sink(t *testing.T, o Options) *Sink {
	t.Helper()
	if o.Topic == "" {
		o.Topic = topic
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// entries are n of a chain.
func entries(t *testing.T, n int) []audit.Entry {
	t.Helper()
	var all []audit.Entry
	var head audit.Head
	for i := range n {
		e, err := audit.Encode(head, audit.Event{
			ID: "e" + strings.Repeat("x", i), At: time.Unix(1_700_000_000, 0), Type: "rotation.activated", Secret: "client-secret", Detail: "<ä\u2028>", Data: json.RawMessage(`{"n":1}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		head = audit.Head{Seq: e.Seq, Hash: e.Hash()}
		all = append(all, e)
	}
	return all
}

// consume is the first n records, as they come.
func consume(t *testing.T, c *kfake.Cluster, n int, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n && ctx.Err() == nil {
		records = append(records, client.PollFetches(ctx).Records()...)
	}
	if len(records) != n {
		t.Fatalf("%d records, expected %d", len(records), n)
	}
	return records
}

// Whoever reads the topic can check the chain: in one partition, byte for byte.
func TestEntriesInATopic(t *testing.T) {
	c := cluster(t)
	s := sink(t, Options{Brokers: c.ListenAddrs()})
	all := entries(t, 150)
	for _, part := range [][]audit.Entry{all[:100], all[100:]} {
		if n, err := s.Deliver(t.Context(), part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	var lines [][]byte
	for _, r := range consume(t, c, 150) {
		if string(r.Key) != Key || r.Partition == -1 || string(r.Headers[0].Value) != "application/json" {
			t.Errorf("%+v", r)
		}
		lines = append(lines, r.Value)
	}
	if r := audit.Check(lines, audit.CheckOptions{Head: &audit.Head{Seq: 150, Hash: all[149].Hash()}, Whole: true}); !r.OK {
		t.Errorf("%+v", r.Problems)
	}
}

func TestCloudEvents(t *testing.T) {
	c := cluster(t)
	s := sink(t, Options{Brokers: c.ListenAddrs(), Envelope: CloudEvents, Source: "https://app.example"})
	all := entries(t, 1)
	if n, err := s.Deliver(t.Context(), all); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r := consume(t, c, 1)[0]
	var e map[string]json.RawMessage
	if err := json.Unmarshal(r.Value, &e); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"specversion": `"1.0"`, "id": `"e"`, "source": `"https://app.example"`, "type": `"dev.keyway.audit.rotation.activated"`,
		"time": `"2023-11-14T22:13:20Z"`, "subject": `"client-secret"`, "datacontenttype": `"application/json"`, "data": string(all[0].Line),
	} {
		if string(e[name]) != want {
			t.Errorf("%s: expected %s, found %s", name, want, e[name])
		}
	}
	if got := string(r.Headers[0].Value); r.Headers[0].Key != "content-type" || !strings.HasPrefix(got, "application/cloudevents+json") {
		t.Error(got)
	}
}

func TestWhatDoesNotArriveIsSaid(t *testing.T) {
	t.Run("no topic", func(t *testing.T) {
		c := cluster(t)
		s := sink(t, Options{Brokers: c.ListenAddrs(), Topic: "other"})
		if n, err := s.Deliver(t.Context(), entries(t, 2)); n != 0 || !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Error(n, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		c := cluster(t)
		refuse := true
		c.ControlKey(int16(kmsg.Produce), func(q kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			if !refuse {
				return nil, nil, false
			}
			produce := q.(*kmsg.ProduceRequest)
			if produce.Acks != -1 {
				t.Errorf("acks: %d", produce.Acks)
			}
			answer := produce.ResponseKind().(*kmsg.ProduceResponse)
			for _, asked := range produce.Topics {
				told := kmsg.NewProduceResponseTopic()
				told.Topic, told.TopicID = asked.Topic, asked.TopicID
				for _, p := range asked.Partitions {
					one := kmsg.NewProduceResponseTopicPartition()
					one.Partition, one.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
					told.Partitions = append(told.Partitions, one)
				}
				answer.Topics = append(answer.Topics, told)
			}
			return answer, nil, true
		})
		s := sink(t, Options{Brokers: c.ListenAddrs()})
		all := entries(t, 3)
		if n, err := s.Deliver(t.Context(), all); n != 0 || !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Error(n, err)
		}
		refuse = false
		if n, err := s.Deliver(t.Context(), all); n != 3 || err != nil {
			t.Error(n, err)
		}
		consume(t, c, 3)
	})
	t.Run("nobody there", func(t *testing.T) {
		s := sink(t, Options{Brokers: []string{"127.0.0.1:1"}, Timeout: time.Second})
		began := time.Now()
		if n, err := s.Deliver(t.Context(), entries(t, 1)); n != 0 || err == nil || time.Since(began) > 10*time.Second {
			t.Error(n, err)
		}
	})
}

// The password is asked for at each connection, so that another one is taken up; it
// is never sent in clear without TLS.
func TestSignIn(t *testing.T) {
	password := func(p string) func() (secret.Value, error) {
		return func() (secret.Value, error) { return secret.NewValue([]byte(p)), nil }
	}
	for method, good := range map[string]bool{"SCRAM-SHA-512": true, "PLAIN": false} {
		c := cluster(t, kfake.EnableSASL(), kfake.Superuser(method, "keyway", "kafka-password"))
		o := Options{Brokers: c.ListenAddrs(), Username: "keyway", Password: password("kafka-password"), Timeout: 2 * time.Second}
		if n, err := sink(t, o).Deliver(t.Context(), entries(t, 1)); (n == 1 && err == nil) != good {
			t.Errorf("%s: %d, %v", method, n, err)
		}
		o.Password, o.Timeout = password("another-password"), time.Second
		if n, err := sink(t, o).Deliver(t.Context(), entries(t, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "another-password") {
			t.Errorf("%s: %d, %v", method, n, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"nothing": {}, "no topic": {Brokers: []string{"a:1"}}, "an envelope": {Brokers: []string{"a:1"}, Topic: topic, Envelope: "avro"},
		"no password": {Brokers: []string{"a:1"}, Topic: topic, Username: "a"},
	} {
		if s, err := New(o); err == nil {
			s.Close()
			t.Errorf("%s was taken", name)
		}
	}
}

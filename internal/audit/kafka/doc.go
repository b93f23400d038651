// Package kafka delivers the entries of the record to a topic of Kafka.
//
// It promises that nothing is called delivered before all replicas in sync of the
// partition have it (acks=all), and that all entries are in one partition, in order:
// under one key, by a producer that is idempotent.
package kafka

// Package redis keeps sessions in Redis 7 or what speaks its protocol, shared
// by all replicas: one server, Sentinel or Cluster, with or without TLS.
//
// What is in there, under a prefix:
//
//	s:{bb}:<hex>  a record: revision(8) | sealed data, with the expiry of the session
//	i:{bb}        sorted set of the records of that bucket by expiry, for counting
//	g:<hex>       sorted set of the records of a group by expiry; lives as long as the last of them
//	l:<name>      a lease: its owner
//	n:<name>      how much came from an address prefix lately, see Counters
//
// bb is the first byte of the key in hex. In a cluster it makes a record and its
// index lie in one slot, so that one script changes both, and spreads them over
// 256 slots.
//
// # Nothing is cached here
//
// Reads ask the server to tell of changes (CLIENT TRACKING in opt-in mode), and
// Changes passes that on; the copies are kept, opened, by session.Shared. The
// client's own cache is switched off: it would hold each record a second time,
// and answers with what was there before one's own write until the server's
// message has come (Redis sends it after the reply; redis/rueidis#534).
//
// # When Redis is away
//
// Every call ends within Options.Timeout or its context's deadline, whatever the
// client does, and at once while Redis is known not to answer. It is probed
// several times a second, and used again when it answers; then, and whenever a
// connection was lost, everything cached counts as changed.
//
// # Fail-over
//
// Replication is asynchronous: a new master may lack the last writes. Lost
// sign-ins and refreshes cost a sign-in. Lost logouts are made again by the
// replica that made them, whenever it has lost a connection (see graves); if that
// replica is gone too, a session is back that its browser was told to forget, and
// min-replicas-to-write is what helps. A Join that is lost, where the record before
// it is not, leaves a session that ending all of its user does not find. Revisions
// are random, so that a lost Replace and another one after it are never taken for
// each other. A lease can be lost too, see session.Manager.Fresh for what that costs.
package redis

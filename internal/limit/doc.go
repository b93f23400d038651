// Package limit says when somebody asks for too much: so many times in so long,
// for each of those who are told apart.
//
// A [Rate] of 30/1m is kept by the generic cell rate algorithm (GCRA): whoever was
// quiet may do it 30 times at once, and from then on once every 2 s, which is 30 a
// minute for as long as they go on. So no minute has more than twice 30, and no
// long time more than 30 a minute. What is refused does not count, and the time
// after which the next is allowed is known exactly: it is what Retry-After says.
//
// Addresses count by prefix: who has one IPv6 address has 2^64 of them. One that
// is not known is a prefix of its own, so nothing goes uncounted. Who is known counts
// as an account, wherever he comes from.
//
// What costs more counts as more: n at once are allowed together or not at all, and
// wait for each other's time. More than a rate has in all are as many as it has, or
// they never would be allowed.
//
// Replicas count together through a [Counters] that they share. A limit protects
// the service and must not become what takes it down: when the shared counters
// don't answer within [Patience], the replica goes by what it counted itself, which
// it does all the time, and leaves them alone for [Pause]. With n replicas one
// prefix then has up to n times the rate; nobody is locked out, and nothing is
// without a limit.
//
// Memory is bounded by [MaxKeys] for each thing that is kept. When it is full, a
// newcomer takes the place of whoever is nearest to being at rest; those who are
// beyond their limit keep theirs. If all places are theirs, the newcomer is let
// through and not counted.
package limit

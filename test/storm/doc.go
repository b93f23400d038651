// Package storm shows that any secret can be rotated while the gateway serves,
// and that nobody notices.
//
// Three replicas of the real program share one real Redis, behind a plain round
// robin, at an identity provider that we did not write. Users sign in, call,
// change things with CSRF tokens that are as old as their sessions, and hold
// streams open. Meanwhile every secret is rotated again and again, by the admin
// API and by files that are swapped as Kubernetes does it, at another moment on
// each replica; operators roll back; replicas are killed and started; Redis hangs,
// or dies and comes back.
//
// What a user may see of all this: nothing. A 503 that says that sessions or keys
// can't be looked up is allowed while Redis is away, and a request that was under way at a replica when that was killed is counted
// apart: no rotation cut it. A session that ends before it was signed out or
// expired is lost, and no session may be.
//
// The test is short by itself. With STORM_TIME=5m (which is what `make storm`
// says) it goes on for as long, and with STORM_SEED=7 the same things are done in
// the same order as with that seed before, as far as the machine is as fast. What
// happened is kept in out/storm.
package storm

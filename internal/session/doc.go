// Package session keeps who is signed in, and the tokens that belong to it, on
// the server. The browser holds one random id in a cookie, and nothing else.
//
// What it promises:
//
//   - The store never sees an id (it knows a salted hash), a token or a name
//     (records are sealed under the session key). A record says which version of
//     which secret it rests on, and so does the cookie, so that each of them
//     rotates under live sessions.
//   - A session ends because it expired, because somebody ended it, or because
//     the IdP says that its grant is gone. A store or an IdP that can't be
//     reached ends none: "can't know" is an error of its own, [ErrUnavailable].
//   - What has ended stays ended. No refresh that was under way, and no cached
//     copy, brings it back; another replica sees it within a second.
//   - All sessions of a user end at once, by whatever replica they were begun, and
//     none slips through that is being begun meanwhile ([Manager.EndAll]). To find
//     them the store has groups, under salted hashes that name nobody.
//   - One refresh at a time for a session, across tabs and replicas, whose
//     result everybody gets, whoever closes the tab that began it.
//   - The absolute lifetime is never extended.
//
// A [Manager] is built for each generation of configuration and keys, and is
// immutable. What outlives generations (the store, the cache, refreshes under
// way, open streams) is in a [Shared].
//
// Stores are in the packages memory, embedded and redis; storetest is what all
// of them pass.
package session

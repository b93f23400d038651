// Package keystore is the folder in which Keyway keeps keys of its own: signing
// keys as PEM beside a jwks.json, so that other tools can read them, and
// managed secrets, sealed.
//
//	signing-<kid>.pem        a signing key, PKCS #8
//	signing-key.json         the versions: id, state, algorithm, dates
//	jwks.json                the public side, as it is published
//	kek-<id>.key             a key-encryption key
//	key-encryption-key.json  its versions
//	ring-<name>.json         a managed secret: versions, each value sealed
//	.lock                    held by whoever writes
//
// What it promises: after a crash at any instant the folder opens, with the old
// set or the new one, never half of one. A value is written, synced and renamed
// before a manifest names it; a value that no manifest names is adopted when it
// is the first, and left alone otherwise. Two processes that meet in an empty
// folder make one key. A folder or file that others could read is refused, with
// the command that mends it. Fields of a manifest that this release does not
// know are kept.
//
// A private key signs and verifies once before it is put to use.
package keystore

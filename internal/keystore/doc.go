// Package keystore is the folder in which Keyway keeps what must be in files: a
// mirror of the signing key for other tools, as PEM beside a jwks.json, and root
// keys, which open what is sealed elsewhere on this machine.
//
//	signing-<kid>.pem   a live version of the signing key, PKCS #8
//	signing-key.json    all its versions: id, state, algorithm, dates
//	jwks.json           the public side of the live ones, as it is published
//	root-<id>.key       a root key
//	.lock               held by whoever writes
//
// Nothing is in it before it is asked for: [Open] makes no key,
// [Store.FirstSigning] adopts or makes the first signing key, [Store.RootKeys] the
// first root key.
//
// The ring of the signing key itself is kept by whoever runs the gateway.
// [Store.Mirror] writes it here; [Store.Propose] is how a program beside the
// gateway asks for the next version, and [Store.Signing] is where the gateway sees
// that. Any number of programs that propose at once make one version.
//
// What it promises: after a crash, a full disk or a lost power at any instant the
// folder opens, with the old set or the new one, never half of one. A key file is
// written, synced and renamed before a manifest names it, and goes after the
// manifest says that its version has ended. jwks.json is never empty, and never
// lacks a live version of the manifest: a key is published before it can be
// called active, so nothing is signed with what nobody could fetch. What has ended
// does not come back, from a backup or with an older ring. Two processes that meet
// in an empty folder make one key; a key file that no manifest names is adopted
// when it is the first, and left alone otherwise. A folder or file that others
// could read is refused, with the command that mends it. Fields of a manifest that
// this release does not know are kept.
//
// A private key signs and verifies once before it is put to use.
package keystore

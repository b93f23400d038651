// Package lies is a catalogue of what a provider can say that is not so, or that
// is so and often misread, for the demo IdP to tell.
//
// What it promises: each [Lie] says in one sentence what it does and what must
// happen, and tells one lie only, so that whoever refuses it refuses it for that
// reason. Some are no lies at all but odd truths, which must be accepted: a
// relying party that refuses everything proves nothing. The catalogue knows no
// relying party; package test/conformance runs it against the gateway.
//
// [Plans] are the OpenID Foundation's conformance plans for relying parties, and
// which lie stands for which of their modules; or why none does.
package lies

// Package config turns a directory of YAML files and the environment into one
// immutable [Config], or into the complete list of what is wrong with them.
//
// What it promises:
//
//   - Strict: an unknown key, a wrong type, a value out of bounds, a route that
//     could be mistaken for another are errors. Nothing is ignored in silence.
//   - Everything at once: one run reports every problem of every file and of
//     the environment, each with its place, what was found and what would be
//     right.
//   - Secrets are named, never needed: a secret is written as file:/path or
//     ${NAME}, kept as a [SecretRef] and not opened here. A secret written out
//     is refused, and no message repeats a value that may be one.
//   - No side effects: it reads the four files and the environment it is given,
//     opens no socket and writes nothing.
//
// Values are taken in this order, the last one wins: defaults, YAML with ${VAR}
// and ${VAR:-default} expanded, environment variables. A variable that is set
// but empty counts as unset.
//
// The structs are the single description of every key: their tags drive the
// decoder, the JSON Schema and docs/reference/configuration.md alike.
//
// The tags: yaml (key), env (variables, the first that is set wins), default,
// doc, enum (a|b), fold (enum ignores case), min, max (inclusive), required,
// url (issuer, endpoint or base), list (how a list is written in one string:
// comma, space or json), off (the word off stands for the zero value).
package config

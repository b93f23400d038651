// Package route decides which route a request takes, and nothing else.
//
// It is pure: no files, no sockets, no clock. What it promises:
//
//   - One request, one route. A table in which two routes could both match the
//     same method and path is refused when it is built, with an example path,
//     so there is no precedence to remember and none to get wrong.
//   - What is decided is what is forwarded, byte for byte. A path that two
//     servers could read differently (dot segments, doubled or encoded
//     slashes, path parameters, double encoding) is refused before any route
//     is looked at, and whatever passes is never rewritten on its way.
//   - Letter case never widens a rule. Matching is exact, and two routes that
//     would overlap if case were ignored are refused too: a path can never
//     match one route here and, folded by an upstream, belong to another.
//   - Reading a request costs no memory: matching allocates nothing unless a
//     literal segment arrives percent-encoded.
//
// A [Table] is immutable and safe for concurrent use.
package route

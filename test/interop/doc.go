// Package interop holds the gateway to the interoperability scenarios of the AuthZEN
// working group: a Todo application with five users, by roles, behind Keyway.
//
// They were written from their published descriptions:
//
//   - the API gateway scenario (https://hackmd.io/ecYxP6uxSCm5X0RexkAM2g), in which
//     the gateway asks whether a user may use this method on this route;
//   - the Todo scenario (https://authzen-interop.net/docs/scenarios/todo), in which
//     somebody asks whether a user may do this to a todo of this owner.
//
// Each user signs in, and makes each request, through the real binary; what must come
// of it is as published. It runs against Cedar policies in the gateway's process, and
// against the Open Policy Agent in one of its own, whose own log of questions is held
// against the published payloads.
package interop

// Package realidp runs an OpenID Provider that we did not write, npm's
// oidc-provider, in a process of its own, and signs users in at it by HTTP as a
// browser would.
//
// What passes here was not agreed upon with ourselves: the provider checks our
// requests by its own reading of the specifications. Users are ada and grace,
// both with the password "demo".
package realidp

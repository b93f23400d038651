// Package demo is everything that `keyway demo` needs beside the gateway: an
// OpenID Provider to sign in at, an API to call, and a page that does both.
//
// They are peers of the gateway, not parts of it: each listens on loopback, and
// the gateway knows them by a configuration like anybody's, which is in the
// folder config and worth a look: the policies of who may do what are there, too.
package demo

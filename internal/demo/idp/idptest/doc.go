// Package idptest runs the demo OpenID Provider on a loopback port for a test,
// and drives sign-ins at it, or at any provider whose pages are plain forms,
// as a browser without scripts would.
package idptest

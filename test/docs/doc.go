// Package docs holds the documentation to its word: its examples are run, its
// configurations are loaded, its links and file names exist, and its reference
// pages list what the code has, no more and no less.
//
// # Examples
//
// Every fenced block has a marker behind its language, which readers don't see.
// A block without one, or with one that is not listed here, fails the test.
//
//	sh run [exit=N]         run in bash; N is the expected exit code, 0 if left out
//	sh background until=U   start, and go on when the URL or tcp:PORT U answers
//	sh env                  variables of a whole configuration, which must be valid
//	sh syntax               not run (it needs docker, a cluster, minutes); parsed
//	text output             what the run block before it prints; … is a wildcard
//	json output             the same, by shape: keys, strings, booleans
//	json parse              parsed
//	yaml file=F             written to F where the script is; see below
//	yaml check=F            loaded by itself as the configuration file F
//	yaml from=F             an excerpt: its lines are in the repository's file F
//	go, html, js, rego file=F  written to F
//	js syntax               parsed by node, where there is one
//	nginx syntax            tested by nginx -t, where there is one; that of
//	                        behind-a-proxy.md is also put in front of a gateway
//	text                    anything
//
// The run, background and file blocks of one document become one bash script,
// in their order, so that a variable or a cd lasts as it does for a reader. It
// begins in the repository with an empty home directory and a keyway on the
// PATH, and stops at the first block that fails. The ports that the
// documentation uses (see ports) are replaced by free ones throughout. A
// configuration written by file= blocks is loaded as well, with the variables
// that the script exports at that point.
//
// # Reference pages
//
// Tables are compared with the code: error codes, endpoints and their methods,
// metrics and their labels, the keys and texts of the log, header and cookie
// names, files and keys in the store.
// Environment variables, commands and repository paths in code spans must
// exist, in every document.
package docs

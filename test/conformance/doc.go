// Package conformance runs a whole gateway against a demo IdP that lies, once for
// each lie of package lies, and looks at it as its users do: who is signed in
// afterwards, what they are told, and who was called in the meantime.
//
// What it promises: a line of docs/reference/conformance.md that says "passes"
// has been run, with real requests from end to end, and no test was left out.
// Each run logs one line, from which the command in the folder table makes that
// document:
//
//	conformance {"run":"id-token-iss-wrong","did":"refused: login_failed; …"}
//
// What it does not promise: a certificate. The suite of the OpenID Foundation is
// not run here; its modules are done again, by their descriptions.
package conformance

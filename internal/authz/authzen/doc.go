// Package authzen asks a policy decision point over HTTP (AuthZEN Authorization API
// 1.0 section 10).
//
// What it promises: an answer is an answer of that server, read strictly, within its
// bounds of time and size; anything else is an error, never an allow. A question
// has no effect, so it is asked again where no answer came; where one came, be it
// a refusal, it is not. A server that fails several times in a row is left alone for
// a while, and meanwhile the error comes at once: by the account whose questions fail,
// and by all, if Probe fails, too. No question of one account closes it to another.
//
// A credential that is refused is told of by its version, and the other live one is
// tried: during a rotation either may be the one that the server knows.
package authzen

// Package authz is the policy enforcement point: before a request is forwarded, it
// asks a policy decision point (PDP) whether this subject may do this action on
// this resource, in the words of AuthZEN 1.0.
//
// What it promises:
//
//   - Only the boolean true allows. An answer of another kind, an error, a timeout,
//     a request that can't be put into words because a parameter is missing or is
//     there twice: all of these deny, with a reason for the log and none for the
//     caller.
//   - What is asked is what is done: a question is made of the path, query and body
//     that are forwarded, byte for byte, read by the strictest reader. What two
//     readers could take differently is refused before anybody is asked.
//   - A remembered decision is an answer to exactly the same question about exactly
//     the same claims. It is forgotten when the claims change, when its time is
//     over, and when somebody says that the policies have changed.
//
// A [Mapping] says what is asked for one method of a route; [Compile] makes it
// ready. An [Enforcer] asks and remembers. Decision points are in the packages
// authzen (any, over HTTP) and cedar (in this process).
package authz

// Package opa runs the Open Policy Agent, a decision point that we did not write, in
// a process of its own, with the policies that a test gives it.
//
// It speaks AuthZEN 1.0 without anything in between: its webhook API
// (POST /v0/data/PATH) hands the body to a policy as it came, and answers with the
// document that the policy makes. So a policy with the rules `evaluation` and
// `evaluations` in the package authzen is both endpoints of the standard.
package opa

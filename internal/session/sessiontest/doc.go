// Package sessiontest has what tests of sessions need: keys, managers, and an
// IdP whose refresh tokens work once.
package sessiontest

// Package ringjson is the form in which versions of a secret are kept: in the vault
// with their values, in a folder's manifest without. It promises that members which
// this release does not know are carried along, so that going back a release, or a
// fleet of two releases, loses nothing; and that its errors never quote what they
// found, which may be a secret.
package ringjson

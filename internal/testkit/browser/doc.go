// Package browser lets a Go test use pages in a real Chromium, by a script for
// playwright. Screenshots are kept in out/screenshots for people to look at.
package browser

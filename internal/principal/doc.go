// Package principal says who is asking. It imports nothing of Keyway, so that
// every room can speak of a principal without knowing how it was established.
package principal

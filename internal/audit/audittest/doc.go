// Package audittest is the key that tests of the record share: one that signs its head
// and what receivers are pushed.
package audittest

// Package storetest is what every session.Store must pass. A new store is done
// when Run is green on it.
package storetest

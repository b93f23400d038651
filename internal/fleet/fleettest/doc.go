// Package fleettest is what every fleet.Board and fleet.Register must pass, and a
// form of both in memory, whose replicas can be cut off, for tests of what rests
// on them.
package fleettest

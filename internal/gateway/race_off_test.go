//go:build !race

package gateway

// allocations are what the race detector adds: its pools drop what they are given.
const allocations = 0

//go:build race

package gateway

const allocations = 20
